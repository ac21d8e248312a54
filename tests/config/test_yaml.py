"""Strict YAML: values, places, and everything that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lllm.config.yaml import parse_value, read_yaml
from lllm.errors import UserError


def read(tmp_path: Path, text: str | bytes) -> object:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def test_scalars_follow_yaml_1_2(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "a: 1e-3\nb: 010\nc: on\nd: 2020-01-01\ne: ~\nf: 0x1f\ng: '7'\nh: -2.5\ni: true\nj: 1_000\nk: 1e13\n"
    )
    values = read_yaml(path).values
    assert values == {
        "a": 0.001,
        "b": 10,
        "c": "on",
        "d": "2020-01-01",
        "e": None,
        "f": 31,
        "g": "7",
        "h": -2.5,
        "i": True,
        "j": 1000,
        "k": 1e13,
    }
    assert [type(values[k]) for k in "abij"] == [float, int, bool, int]


def test_dotted_and_nested_keys_are_one_thing_and_know_their_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text("model.head: var\nmodel:\n  width: 8\n  head.depth: 3\nlist: [1, {a.b: 2}]\n")
    tree = read_yaml(Path("x.yaml"))
    assert tree.values == {"model": {"head": {"use": "var", "depth": 3}, "width": 8}, "list": [1, {"a.b": 2}]}
    assert tree.origin("model.head.depth") == "x.yaml:4"
    assert tree.origin("model.head.use") == "x.yaml:1"
    assert tree.origin("model.width") == "x.yaml:3"
    assert tree.origin("list.1.anything") == "x.yaml:5"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"x.yaml:3:1: duplicate key 'a' \(also .*x.yaml:1:1\)"),
        ("a:\n  b: 1\n  b: 2\n", r"x.yaml:3:3: duplicate key 'b'"),
        ("l: [{b: 1, b: 2}]\n", r"x.yaml:1:12: duplicate key 'b'"),
        ("a.b: 1\na: {b: 2}\n", r"x.yaml:2: a.b: given twice"),
        ("a: {use: x}\na.use: y\n", r"x.yaml:2: a.use: given twice"),
        ("a.b: x\na.b.use: y\n", r"x.yaml:2: a.b.use: given twice"),
        ("a: 1\na.b: 2\n", r"x.yaml:2: a.b: 'a' is set to 1 already \(.*x.yaml:1\)"),
        ("a: [1\n", r"x.yaml:2:1: not YAML: .*expected ',' or '\]'"),
        ("a: b: c\n", r"x.yaml:1:5: not YAML: mapping values are not allowed here"),
        ("a:\n\t- b\n", r"x.yaml:2:1: not YAML: .*'\\t'"),
        ("- 1\n", r"x.yaml:1:1: found \[1\]; expected a mapping"),
        ("just text\n", r"x.yaml:1:1: found 'just text'; expected a mapping"),
        ("", "found nothing; expected a mapping"),
        ("# only a comment\n", "found nothing; expected a mapping"),
        ("a: 1\n---\nb: 2\n", r"x.yaml:2: a second document; expected one"),
        ("%YAML 1.1\n---\na: on\n", "expected YAML 1.2"),
        ("a: &x 1\nb: *x\n", r"x.yaml:1: anchors, aliases and tags have no place"),
        ("a: *x\n", r"x.yaml:1: anchors, aliases and tags have no place"),
        ("a: !!python/object:os.system x\n", r"x.yaml:1: anchors, aliases and tags"),
        ("1: a\n", r"x.yaml:1:1: key 1: expected a name"),
        ("? [a]\n: b\n", r"x.yaml:1:3: key \['a'\]: expected a name"),
        ("a: {null: 3}\n", r"x.yaml:1:5: key None: expected a name"),
        ('a: "\\ud800"\n', r"x.yaml:1: '.ud800': expected Unicode text"),
        ("a: .inf\n", r"x.yaml:1: '.inf': expected a finite number"),
        ("a: 1e999\n", "expected a finite number"),
        (f"a: {2**63}\n", "expected a finite number below 2"),
        (f"a: {'9' * 5000}\n", "expected a finite number below 2"),
        (f"a: 0x{'f' * 5000}\n", "expected a finite number below 2"),
        ("a..b: 1\n", r"x.yaml:1: key 'a..b': expected names joined by single dots"),
        ("'': 1\n", "key '': expected names"),
        ("a: " + "[" * 40 + "]" * 40, "nested more than 32 deep"),
        ("[" * 20_000, "nested more than 32 deep"),
        (b"\x00\x01\x02", "x.yaml:1: character '.x00' has no place in a YAML file"),
        (b"\x89PNG\r\n\xff\xfe", "byte 0 is not UTF-8 text; expected a YAML file"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_where_it_stands(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.yaml: cannot be read \(No such file"):
        read_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("4", 4),
        ("true", True),
        ("null", None),
        ("text", "text"),
        ("off", "off"),
        ("'4'", "4"),
        ('"a b"', "a b"),
        ("[1, 2]", [1, 2]),
        ("{steps: 60}", {"steps": 60}),
        ("C:\\a: b #c", "C:\\a: b #c"),
        ("*.txt", "*.txt"),
        ("@home", "@home"),
    ],
)
def test_values_of_the_command_line(text: str, value: object) -> None:
    found = parse_value(text, "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["[1", "{a: 1", "'x", "{a: 1, a: 2}", "[1] 2", "{a: &x 1}", "[.nan]", "{1: 2}"])
def test_a_value_that_is_not_yaml_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^here"):
        parse_value(text, "here")
