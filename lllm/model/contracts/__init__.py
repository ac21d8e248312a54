"""The contracts of model parts, one file each. Shapes: B rows, T tokens, N latents, R ratio, D latent width, d token
width, V vocabulary."""

from lllm.model.contracts.base import Cost, ModelPart
from lllm.model.contracts.downsampler import Downsampler, Encoded, WindowDownsampler, WindowState
from lllm.model.contracts.embedding import Embedding
from lllm.model.contracts.head import Conditional, Head, Hidden, Likelihood
from lllm.model.contracts.layers import FFN, Block, Mixer
from lllm.model.contracts.output import Rows, TrainOut
from lllm.model.contracts.trunk import Trunk, TrunkState
from lllm.model.contracts.visibility import Visibility

__all__ = [
    "FFN",
    "Block",
    "Conditional",
    "Cost",
    "Downsampler",
    "Embedding",
    "Encoded",
    "Head",
    "Hidden",
    "Likelihood",
    "Mixer",
    "ModelPart",
    "Rows",
    "TrainOut",
    "Trunk",
    "TrunkState",
    "Visibility",
    "WindowDownsampler",
    "WindowState",
]
