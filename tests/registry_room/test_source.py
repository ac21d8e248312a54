"""What of a part's source is executed, and that every Python says the same of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lllm.errors import UserError
from lllm.identity import code_fingerprint
from lllm.registry import load_registry, source
from lllm.registry.source import executed, file_source, syntax_digest

ROOT = Path(__file__).parents[2]
SNIPPETS = Path(__file__).parent / "syntax"
SNIPPET = (SNIPPETS / "since_3_11.txt").read_text() % ("0" * 5000)  # an integer that Python refuses to write out
NEWER = (SNIPPETS / "since_3_12.txt").read_text()


def interpreters() -> dict[tuple[int, int], str]:
    """The Pythons from 3.11 on that are installed, at least this one."""
    folders = [*os.environ["PATH"].split(os.pathsep), *map(str, Path.home().glob(".pyenv/versions/*/bin"))]
    found = {sys.version_info[:2]: sys.executable}
    for minor in (11, 12, 13):
        for path in filter(None, (shutil.which(f"python3.{minor}", path=folder) for folder in folders)):
            if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:  # a shim may lead nowhere
                found.setdefault((3, minor), path)
    return found


def digests(python: str, *texts: str) -> list[str]:
    """Of texts, then of every source file of the project, by another interpreter."""
    program = (
        "import importlib.util as u, json, sys, pathlib\n"
        f"spec = u.spec_from_file_location('source', {str(source.__file__)!r})\n"
        "made = u.module_from_spec(spec); sys.modules['source'] = made; spec.loader.exec_module(made)\n"
        f"folders = [pathlib.Path({str(ROOT)!r}, name) for name in ('lllm', 'registry')]\n"
        "files = [path for folder in folders for path in sorted(folder.rglob('*.py'))]\n"
        "texts = [*json.load(sys.stdin), *(p.read_bytes() for p in files)]\n"
        "print(json.dumps([made.syntax_digest(text) for text in texts]))\n"
    )
    done = subprocess.run([python, "-c", program], input=json.dumps(texts), capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found


def test_every_python_gives_a_source_the_same_digest() -> None:
    """And it is the one that it always was: another walk would make every run stale."""
    found = {version: digests(python, SNIPPET) for version, python in interpreters().items()}
    assert found[sys.version_info[:2]][0] == "4095fcf20fa833ad7913f00c2745507f"
    assert len(found[sys.version_info[:2]]) > 200
    assert all(one == found[sys.version_info[:2]] for one in found.values())


def test_syntax_of_newer_pythons_has_one_digest_too() -> None:
    newer = {v: digests(python, NEWER)[0] for v, python in interpreters().items() if v >= (3, 12)}
    assert set(newer.values()) <= {"e30237e5d3ea7deee44925dcd486cc76"}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("def f():\n    'doc'\n    return 1", True),
        ("def f(): return 1  # why", True),
        ("def f():\n    return (\n        1\n    )", True),
        ("def f(): return 2", False),
        ("def f(): return 1.0", False),
        ("def f(): return True", False),
        ("def f(): return '1'", False),
        ("async def f(): return 1", False),
        ("def f(x): return 1", False),
        ("def f(): return 1\nf()", False),
        ("def f():\n    'doc'\n    'more'\n    return 1", False),
    ],
)
def test_what_is_executed_counts_and_nothing_else(text: str, same: bool) -> None:
    assert (syntax_digest(text) == syntax_digest("def f(): return 1")) is same


def test_texts_are_not_mistaken_for_the_tree() -> None:
    """A text may hold what the walk writes between nodes."""
    assert syntax_digest("x = ['a', 'b']") != syntax_digest("x = ['a\\nstr b']")
    assert syntax_digest("class A: 'doc'") == syntax_digest("class A: pass")
    assert syntax_digest("f'a' 'b'") == syntax_digest("f'ab'")
    assert syntax_digest("f'{a}b'") != syntax_digest("f'{a}' + 'b'")


def test_a_deep_tree_has_a_digest() -> None:
    assert syntax_digest("x = " + " + ".join(["1"] * 2000)) != syntax_digest("x = " + " + ".join(["1"] * 2001))


# --- the import graph -----------------------------------------------------------------------------------------------

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """write(name, text): a file of a folder from which modules are imported."""
    monkeypatch.syspath_prepend(tmp_path / "lib")

    def make(name: str, text: str) -> Path:
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make


def graph(text: str, package: str = "") -> set[str]:
    path = Path(sys.path[0]) / "_root.py"
    path.write_text(text)
    return set(executed(file_source(path)[1], package))


def test_imports_are_followed_to_the_end(write: Write) -> None:
    write("q_pkg/__init__.py", "__all__ = ['starred']")
    write("q_pkg/starred.py", "")
    write("q_pkg/deep/__init__.py", "")
    write("q_pkg/deep/low.py", "from .. import up\nfrom ..side import thing\nimport json, lllm.model, torch")
    write("q_pkg/up.py", "def f():\n    import q_lazy")
    write("q_pkg/side.py", "thing = 1")
    write("q_lazy.py", "from typing import *\nif TYPE_CHECKING:\n    import q_typed\nelse:\n    import q_loop")
    write("q_typed.py", "")
    write("q_loop.py", "try:\n    import q_lazy, q_absent\nexcept ImportError: pass")
    write("q_unused.py", "")
    low = {"q_pkg", "q_pkg.deep", "q_pkg.deep.low", "q_pkg.up", "q_pkg.side", "q_lazy", "q_loop", "torch"}
    assert graph("from q_pkg.deep import low") == low | {"q_pkg.starred"}
    assert graph("import q_lazy") == {"q_lazy", "q_loop"}
    assert graph("from . import side", "q_pkg") == {"q_pkg", "q_pkg.side", "q_pkg.starred"}
    assert graph("from .... import side", "q_pkg") == set()
    assert graph("import os, q_absent, lllm.parts") == set()


def test_a_binary_counts_by_its_bytes(write: Write) -> None:
    path = write("q_fast.cpython-0-x.so", "one")
    path = path.rename(path.with_name("q_fast.abi3.so"))
    first = executed(["q_fast"])
    path.write_text("two")
    assert first.keys() == executed(["q_fast"]).keys() == {"q_fast"}
    assert first != executed(["q_fast"])


def test_what_is_installed_counts_by_its_version_and_an_editable_install_by_its_source(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    for name, version in (("q_wheel", "1.2+cpu"), ("q_edit", "0.1")):
        info = site / f"{name}-{version}.dist-info" / "METADATA"
        info.parent.mkdir(parents=True)
        info.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (site / "q_wheel.py").write_text("import q_helper")
    write("q_edit/__init__.py", "import q_helper")
    write("q_helper.py", "")
    (site / "q_linked").symlink_to(write("q_real/__init__.py", "").parent)
    monkeypatch.syspath_prepend(site)
    found = executed(["q_wheel", "q_edit", "q_linked"])
    assert {name: one["version"] for name, one in found.items()} == {
        "q_wheel": "1.2",  # what it imports came with it, or is its distribution's to require
        "q_edit": 1,
        "q_helper": 1,
        "q_linked": 1,
    }
    assert [bool(found[name]["digest"]) for name in ("q_wheel", "q_edit", "q_linked")] == [False, True, True]


PART = """
from lllm.model.contracts import FFN
from lllm.registry import register
import q_below

@register("ffn", "q_mine")
class Mine(FFN):
    'A part.'
    def forward(self, x, ctx, state=None): return x, None
    def cost(self, n): return 0.0
"""


def test_an_edit_below_a_part_is_an_edit_of_its_code(write: Write, tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PART)

    def fingerprint(text: str) -> str:
        write("q_below.py", "def f():\n    import q_lower\n")
        write("q_lower.py", text)
        entry = load_registry([plugin], cwd=tmp_path).get("ffn", "q_mine")
        code, parts = code_fingerprint([entry])
        assert {"ffn/q_mine", "import/q_below", "import/q_lower", "platform/lllm"} == parts.keys()
        return code

    plain = fingerprint("a = 1")
    assert fingerprint("a = 1  # as before") == plain
    assert fingerprint("a = 2") != plain


# --- entry points -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["q_point", "q_point:anything"])
def test_a_part_of_a_package_has_the_package_below_it(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    write("q_point.py", PART)
    write("q_below.py", "")
    monkeypatch.setattr("lllm.registry.discovery.entry_points", lambda group: [EntryPoint("mine", of, group)])
    loaded = load_registry(cwd=tmp_path)
    assert loaded.failures == {}
    assert set(loaded.get("ffn", "q_mine").imports) == {"q_point", "q_below"}


def test_an_entry_point_that_registers_nothing_says_so(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class that the module imports from elsewhere is not registered by it."""
    write("q_other.py", PART)
    write("q_below.py", "")
    path = write("q_nothing.py", "from q_other import Mine")
    monkeypatch.setattr("lllm.registry.discovery.entry_points", lambda group: [EntryPoint("mine", "q_nothing", group)])
    loaded = load_registry(cwd=tmp_path)
    assert loaded.find("q_mine") == []
    ((place, why),) = loaded.failures.items()
    assert str(place) == "entry point mine = q_nothing"
    assert why.startswith("registers no part; ")
    assert str(path) in why
    with pytest.raises(UserError, match="registers no part"):
        loaded.get("ffn", "q_mine")
