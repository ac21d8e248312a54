"""One trainer: a laptop's CPU to torchrun on many nodes; what trains a model, and the hooks by which parts reach it."""
