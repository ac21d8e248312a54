"""lllm: the bench on which an idea for a latent language model becomes a number that can be believed."""

__version__ = "0.1.0"
