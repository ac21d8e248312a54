"""The probe: proof, on a run's own model and text, that no future token reaches a prediction and that what is scored is
the distribution by which the model generates. `lllm run` probes before training and again on the evaluated weights.
"""

from lllm.probe.calls import Calls
from lllm.probe.finding import Finding
from lllm.probe.probe import Probe, probe
from lllm.probe.rows import probe_rows

__all__ = ["Calls", "Finding", "Probe", "probe", "probe_rows"]
