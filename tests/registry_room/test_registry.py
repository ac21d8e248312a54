"""Registration, discovery from every source, and errors that help."""

from __future__ import annotations

import gc
import threading
import time
from pathlib import Path

import pytest

from lllm.errors import UserError
from lllm.registry import Part, PartConfig, Registry, discovery, load_registry, register
from lllm.registry.discovery import load_folder
from lllm.registry.source import syntax_digest

TOY = '''
"""A toy."""
from lllm.registry import Part, PartConfig, register

class Toy(Part):
    kind = "toy"

@register("toy", "{name}")
class Mine(Toy):
    """Does {what}."""
    class Config(PartConfig):
        size: int = {size}
'''


def write(folder: Path, file: str, name: str, size: int = 1, what: str = "nothing") -> Path:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TOY.format(name=name, size=size, what=what))
    return path


def test_a_file_in_the_working_directory_is_a_part(tmp_path: Path) -> None:
    write(tmp_path, "registry/toys/mine.py", "mine")
    entry = load_registry(cwd=tmp_path).get("toy", "mine")
    assert (entry.source, entry.summary) == ("working directory", "Does nothing.")


def test_a_plugin_is_a_part_and_the_same_content_twice_is_one(tmp_path: Path) -> None:
    write(tmp_path, "registry/toys/mine.py", "mine")
    plugin = write(tmp_path, "plugin.py", "mine")
    assert load_registry([plugin], cwd=tmp_path).names("toy") == ["mine"]


def test_the_same_name_with_other_content_is_an_error_where_it_is_used(tmp_path: Path) -> None:
    write(tmp_path, "registry/toys/mine.py", "mine")
    registry = load_registry([write(tmp_path, "plugin.py", "mine", size=2)], cwd=tmp_path)
    with pytest.raises(UserError, match="registered twice with different content"):
        registry.get("toy", "mine")


def test_a_working_directory_file_replaces_the_shipped_one(tmp_path: Path) -> None:
    shipped = load_registry(cwd=tmp_path).get("ffn", "swiglu").path
    local = tmp_path / "registry" / "ffns" / "swiglu.py"
    local.parent.mkdir(parents=True)
    local.write_text(shipped.read_text().replace("6 width hidden", "six width hidden") + "\nEDITED = 1\n")
    registry = load_registry(cwd=tmp_path)
    assert registry.get("ffn", "swiglu").path == local
    assert registry.replaced == {shipped: local}


def test_a_broken_file_is_named_when_a_name_is_not_found(tmp_path: Path) -> None:
    write(tmp_path, "registry/toys/mine.py", "mine").write_text("raise RuntimeError('no luck')\n")
    registry = load_registry(cwd=tmp_path)
    with pytest.raises(UserError, match=r"unknown toy 'mine'.*mine.py: RuntimeError: no luck"):
        registry.get("toy", "mine")


@pytest.mark.parametrize("text", ["import nowhere_to_be_found\n", "x = = 1\n", "raise SystemError\n"])
def test_a_broken_plugin_is_refused_at_once(tmp_path: Path, text: str) -> None:
    plugin = tmp_path / "bad.py"
    plugin.write_text(text)
    with pytest.raises(UserError, match="--plugin"):
        load_registry([plugin], cwd=tmp_path)
    with pytest.raises(UserError, match="no such file"):
        load_registry([tmp_path / "absent.py"], cwd=tmp_path)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("atention", "did you mean 'attention'"),
        ({"use": "attention", "head": 2}, "unknown key 'head'; did you mean 'heads'"),
        ({"use": "attention", "heads": "two"}, r"model.mixer.heads = 'two': expected a valid integer"),
        ({"use": "attention", "heads": 0}, "expected at least 1"),
        ({"heads": 2}, "expected 'use: NAME'"),
        (3, "expected the name of a mixer"),
    ],
)
def test_bad_nodes_are_one_helpful_sentence(registry: Registry, node: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        registry.config("mixer", node, "model.mixer")  # type: ignore[arg-type]


def test_a_default_written_out_has_no_delta(registry: Registry) -> None:
    spec = registry.config("mixer", {"use": "attention", "rope_base": 10_000.0}, "model.mixer")
    assert spec.delta() == {"use": "attention"}
    assert spec.to_node()["rope_base"] == 10_000.0


def test_comments_and_docstrings_do_not_change_the_digest() -> None:
    plain = 'def f(x):\n    """One."""\n    return x\n'
    assert syntax_digest(plain) == syntax_digest('# why\ndef f(x):\n    """Two."""\n    return x  # so\n')
    assert syntax_digest(plain) != syntax_digest(plain.replace("return x", "return -x"))


def test_registering_for_another_kind_is_refused() -> None:
    class Wheel(Part):
        kind = "wheel"

    with pytest.raises(TypeError, match="implements the contract of 'wheel'"):
        register("axle", "round")(Wheel)

    @register("wheel", "round")
    class Round(Wheel):
        class Config(PartConfig):
            spokes: int = 3

    assert Registry().with_parts(Round).get("wheel", "round").cls is Round


def test_a_part_named_inside_a_config_is_validated_with_it(registry: Registry) -> None:
    with pytest.raises(UserError, match=r"model\.head\.mixer: unknown mixer 'atention'; did you mean 'attention'"):
        registry.config("head", {"use": "local_ar", "mixer": "atention"}, "model.head")
    mixers = ["attention", {"use": "attention", "head": 2}]
    with pytest.raises(UserError, match=r"model\.trunk\.mixers\.1\.head: unknown key 'head'; did you mean 'heads'"):
        registry.config("trunk", {"use": "pattern", "mixers": mixers}, "model.trunk")


def test_parts_named_inside_a_config_are_written_the_shortest_way(registry: Registry) -> None:
    node = {"use": "pattern", "mixers": [{"use": "attention", "qk_norm": True}, {"use": "attention", "heads": 2}]}
    spec = registry.config("trunk", node, "model.trunk")
    assert spec.delta()["mixers"] == ["attention", {"use": "attention", "heads": 2}]


def test_a_typo_is_told_before_what_it_leaves_missing(registry: Registry) -> None:
    with pytest.raises(UserError, match="unknown key 'mixer'; did you mean 'mixers'"):
        registry.config("trunk", {"use": "pattern", "mixer": ["attention"]}, "model.trunk")


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "import sys; sys.exit('bye')"])
def test_a_file_that_exits_is_a_failure_and_not_the_end(tmp_path: Path, end: str) -> None:
    path = tmp_path / "registry" / "toys" / "leaves.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"{end}\n")
    registry = load_registry(cwd=tmp_path)
    assert registry.failures[path].startswith("SystemExit: ")
    plugin = tmp_path / "plugin.py"
    plugin.write_text(f"{end}\n")
    with pytest.raises(UserError, match=r"--plugin .*plugin\.py: SystemExit: "):
        load_registry([plugin], cwd=tmp_path)


ABSTRACT = '''
from abc import abstractmethod
from lllm.registry import register
from lllm.train.contracts import Optimizer

@register("optimizer", "half")
class Half(Optimizer):
    """Has no more than half of what it needs."""

    def attach(self, parameters): ...

    def step(self, lr): ...
'''


def test_a_part_without_all_of_its_contract_is_a_failure(tmp_path: Path) -> None:
    said = (
        "TypeError: @register('optimizer', 'half'): Half does not define load_state, reset, state, which its contract "
        "Optimizer asks for"
    )
    plugin = tmp_path / "half.py"
    plugin.write_text(ABSTRACT)
    with pytest.raises(UserError) as caught:
        load_registry([plugin], cwd=tmp_path)
    assert str(caught.value) == f"--plugin {plugin}: {said}"
    local = tmp_path / "registry" / "half.py"
    local.parent.mkdir()
    local.write_text(ABSTRACT)
    registry = load_registry(cwd=tmp_path)
    assert registry.failures == {local: said}
    assert registry.find("half") == []


def test_a_folder_is_loaded_alone(tmp_path: Path) -> None:
    write(tmp_path, "toys/mine.py", "mine")
    registry = load_folder(tmp_path, "here")
    assert [(kind, entry.name, entry.source) for (kind, _), entry in registry.entries.items()] == [
        ("toy", "mine", "here")
    ]


def test_source_is_read_by_several_threads_at_once() -> None:
    """CPython 3.11's parser counts its depth for all threads together, and a collection of garbage lets another in."""
    sources = [path.read_text(encoding="utf-8") for path in sorted(Path(discovery.__file__).parent.glob("*.py"))] * 12
    failed: list[BaseException] = []

    def digests() -> None:
        try:
            for source in sources:
                syntax_digest(source)
        except SystemError as error:
            failed.append(error)

    threads = [threading.Thread(target=digests) for _ in range(4)]
    gc.callbacks.append(give_way)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.callbacks.remove(give_way)
    assert not failed


def give_way(phase: str, info: dict[str, int]) -> None:
    time.sleep(0)
