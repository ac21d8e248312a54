"""The contracts of model parts, one file each. Shapes: B rows, T tokens, N latents, R ratio, D latent width, d token
width, V vocabulary."""

from lllm.model.contracts.base import Cost, ModelPart
from lllm.model.contracts.downsampler import Downsampler, Encoded, Step, WindowDownsampler, WindowState
from lllm.model.contracts.embedding import Embedding
from lllm.model.contracts.head import Conditional, Head, Hidden, Likelihood
from lllm.model.contracts.layers import FFN, Block, BlockState, Mixer, ParallelMixer
from lllm.model.contracts.output import Rows, TrainOut
from lllm.model.contracts.stage import Stage
from lllm.model.contracts.trunk import Trunk, TrunkState
from lllm.model.contracts.visibility import Visibility

__all__ = [
    "FFN",
    "Block",
    "BlockState",
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
    "ParallelMixer",
    "Rows",
    "Stage",
    "Step",
    "TrainOut",
    "Trunk",
    "TrunkState",
    "Visibility",
    "WindowDownsampler",
    "WindowState",
]
