"""`lllm list parts` says what can run here and on which kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Verb

PLUGIN = '''
from lllm.model.contracts import FFN, Cost
from lllm.registry import PartConfig, register

@register("ffn", "{name}")
class Needy(FFN):
    """Asks for modules."""

    class Config(PartConfig):
        """Nothing."""

    requires = ("json", "{module}")
    kernel = "some kernel"

    def forward(self, x_BND, ctx, state=None):
        return x_BND, None

    def cost(self, n):
        return Cost.dense(0)
'''


@pytest.mark.parametrize(("module", "said"), [("absent_module.inner", "needs absent_module.inner"), ("math", "yes")])
def test_parts_say_whether_they_run_here(verb: Verb, inside: Path, tmp_path: Path, module: str, said: str) -> None:
    plugin = tmp_path / "needy.py"
    plugin.write_text(PLUGIN.format(name="needy", module=module))
    listed = json.loads(verb("list", "parts", "--json", "--plugin", plugin).out)
    (found,) = [part for part in listed if part["name"] == "needy"]
    assert (found["runs_here"], found["kernel"]) == (said, "some kernel")
    header, *lines = verb("list", "parts", "--plugin", plugin).out.splitlines()
    assert "runs here" in header
    (line,) = [line for line in lines if " needy " in line]
    assert said in line
    assert "some kernel" in line
