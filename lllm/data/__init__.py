"""Documents -> tokens -> memory-mapped shards -> batches, whose order is a stateless function of (seed, step)."""

from lllm.data.contracts import Corpus, Document, Scored, Tokenizer
from lllm.data.dataset import Dataset, Shard
from lllm.data.prepare import prepare

__all__ = ["Corpus", "Dataset", "Document", "Scored", "Shard", "Tokenizer", "prepare"]
