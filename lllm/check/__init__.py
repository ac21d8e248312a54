"""The conformance suite: what every part promises, tested on composed models with weights drawn anew.

It knows nothing of any part but what the part declares, and bounds what is declared from outside.
"""
