"""A figure per file: a Plotly specification, its caption and its numbers."""
