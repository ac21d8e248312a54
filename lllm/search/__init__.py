"""Sweeps: Optuna decides what to try next, trials are ordinary runs. Optuna is in the driving process alone."""
