"""The contracts of model parts. Shapes: B rows, T tokens, N latents, R ratio, D latent width, d token
width, V vocabulary."""

from lllm.model.contracts.base import Cost, ModelPart
from lllm.model.contracts.downsampler import Downsampler, Embedding, Encoded, Step, WindowDownsampler, WindowState
from lllm.model.contracts.head import Conditional, Head, Hidden, Likelihood
from lllm.model.contracts.layers import FFN, Block, BlockState, Mixer, ParallelMixer, Trunk, TrunkState
from lllm.model.contracts.output import Rows, Stage, TrainOut
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
