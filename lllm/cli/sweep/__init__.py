"""`lllm sweep`."""
