"""Files of a stranger's parts: a new kind with its own suite, an objective that builds one, a corpus that mixes others.

They are text, because a test edits one of them between a run and the next plan.
"""

TEACHER = '''\
"""A kind of which the platform knows nothing, and one part of it."""

from lllm.check import Failure
from lllm.registry import Build, Part, PartConfig, register


class Teacher(Part):
    """Says how much a token is worth."""

    kind = "teacher"
    section = "train"

    @staticmethod
    def conformance(registry, entry):
        """The suite that the kind brings."""
        for example in entry.cls.examples():
            teacher = Build(registry, {}).part("teacher", {"use": entry.name, **example})
            if not teacher.worth() > 0:
                yield Failure(f"teacher/{entry.name}", "worth", "a token is worth nothing")


@register("teacher", "steady")
class Steady(Teacher):
    """The same for every token."""

    class Config(PartConfig):
        """worth: of a token."""

        worth: float = 0.5

    def worth(self):
        return self.config.worth
'''

OBJECTIVE = '''\
"""An objective that needs another part."""

from typing import Annotated

from lllm.registry import Names, Node, PartConfig, register
from lllm.train.contracts import Objective


@register("objective", "taught")
class Taught(Objective):
    """Weighs tokens as its teacher does."""

    class Config(PartConfig):
        """teacher: its own; that of train.teacher when left out."""

        teacher: Annotated[Node, Names("teacher")] | None = None

    def __init__(self, config, build):
        super().__init__(config, build)
        self.teacher = build.part("teacher", config.teacher)

    def weights(self, out, batch, progress, last):
        weight = out.ok.to(out.nats.dtype) * self.teacher.worth()
        return weight if out.slots is not None else weight.sum(-1)
'''

CORPUS = '''\
"""Corpora one after another."""

from itertools import chain
from typing import Annotated

from lllm.data.contracts import Corpus
from lllm.registry import Names, Node, PartConfig, register


@register("corpus", "mix")
class Mix(Corpus):
    """The documents of several corpora."""

    class Config(PartConfig):
        """of: the corpora, in order."""

        of: list[Annotated[Node, Names("corpus")]]

    @classmethod
    def examples(cls):
        return ({"of": [{"use": "text", "document": "blank_line"}, {"use": "text", "path": "state_union"}]},)

    def __init__(self, config, build):
        super().__init__(config, build)
        self.corpora = [build.part("corpus", node) for node in config.of]

    def documents(self, split):
        return chain.from_iterable(corpus.documents(split) for corpus in self.corpora)

    def digest(self):
        return " ".join(corpus.digest() for corpus in self.corpora)

    def describe(self):
        return " and ".join(corpus.describe() for corpus in self.corpora)
'''

FILES = {
    "teachers/steady.py": TEACHER,
    "objectives/taught.py": OBJECTIVE,
    "corpora/mix.py": CORPUS,
}
