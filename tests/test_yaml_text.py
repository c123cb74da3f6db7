"""YAML of a user, in a file and behind an option: each fault is one sentence, at once, and no alias grows for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from invnas.cli.yaml_text import MAX_BYTES, MAX_DEPTH, read_yaml, text_of
from invnas.errors import BadInput

Call = Callable[..., tuple[int, str, str]]
LAUGHS = "x0: &x0 [lol, lol]\n" + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]\n" for i in range(1, 12))
MERGES = "x0: &x0 {a: 1}\n" + "".join(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 10)}]}}\n" for i in range(1, 12))

MALFORMED = {
    "data: &a {init_args: *a}": "at line 1, column 7: an alias stands inside of what it names",
    "&a {data: *a}": "an alias stands inside of what it names",
    "data: {init_args: &a [1, {b: *a}]}": "an alias stands inside of what it names",
    "recipe: &r {<<: *r, epochs: 4}": "an alias stands inside of what it names",
    "recipe: {<<: &r [{<<: *r}]}": "an alias stands inside of what it names",
    LAUGHS: "there are more than 10,000 values",
    MERGES: "there are more than 10,000 values",
    f"sampler_args: [{'0, ' * 20_000}]": "there are more than 10,000 values",
    f"data: {'[' * 100_000}": f"values must not nest deeper than {MAX_DEPTH}",
    f"data: {'{a: ' * 100_000}": f"values must not nest deeper than {MAX_DEPTH}",
    "".join(" " * i + "a:\n" for i in range(1000)): f"values must not nest deeper than {MAX_DEPTH}",
    "- " * 3000: f"values must not nest deeper than {MAX_DEPTH}",
    'recipe: !!python/object/apply:os.system ["false"]': "column 9: the tag 'python/object/apply:os.system' names no",
    "space: !!python/name:os.system": "the tag 'python/name:os.system' names no plain value",
    "space: !mine a": "the tag '!mine' names no plain value",
    "space: !!binary aGVsbG8=": "the tag 'binary' names no plain value",
    "sampler_args: !!set {a}": "the tag 'set' names no plain value",
    "recipe: {<<: 3}": "`<<` merges mappings only",
    "recipe: {<<: [{epochs: 1}, 3]}": "`<<` merges mappings only",
    "? [a, b]\n: 3": "a key must be text",
    "sampler_args: {a: [{b: 1, b: 2}]}": "column 27: the key 'b' stands there twice",
    "recipe: &r {epochs: 1, epochs: 2}": "the key 'epochs' stands there twice",
    "data: *nothing": "found undefined alias 'nothing'",
    "trials: 3\n---\ntrials: 4": "but found another document",
    "trials: 3\x00": "unacceptable character #x0000",
    b"space: caf\xe9": "can't decode byte 0xe9",
    "trials: 3".encode("utf-16"): "can't decode byte 0xff",
    "a:\t[": "cannot start any token",
}
HELD = {"": "nothing", "# no more": "nothing", "- a": "'a list'", "hello": "'hello'", "3": "'3'", "~": "'~'"}


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(("text", "sentence"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_malformed_yaml_is_one_sentence(tmp_path: Path, call: Call, text: str | bytes, sentence: str) -> None:
    path = written(tmp_path, text)
    code, out, err = call("search", path, "--print_config")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"invnas: error: {path} is malformed YAML")
    assert sentence in err


@pytest.mark.parametrize(("text", "held"), HELD.items())
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, held: str) -> None:
    with pytest.raises(BadInput, match=f"the file must be a mapping of keys to values, but holds {held}$"):
        read_yaml(written(tmp_path, text))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"larger than {MAX_BYTES:,} bytes"):
        read_yaml(written(tmp_path, "space: " + "a" * MAX_BYTES))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("trials: 2020-01-01", "`trials` must be a whole number, but got '2020-01-01'"),
        ("trials: true", "`trials` must be a whole number, but got 'true'"),
        ("trials:", "`trials` must be a whole number, but got 'null'"),
        ("trials: [3]", "`trials` must be a whole number, but got '[3]"),
        ("recipe: {epochs: 1e9999}", "`recipe.epochs` must be a whole number, but got '1e9999'"),
        (f"trials: {'9' * 5000}", f"`trials` must be a whole number, but got '{'9' * 60}'"),
        ("recipe:\ndata:", "`recipe` must be a mapping of keys to values, but holds ''"),
        ("true: 3", "unknown key 'true'"),
        ("recipe: {<<: {epochs: 3, seed: 1}}", "unknown key 'recipe.seed'"),
        ("objectives: {a: 1}", "unknown objective 'a'"),
    ],
)
def test_a_value_that_cannot_be_repeats_the_words(tmp_path: Path, call: Call, text: str, sentence: str) -> None:
    code, out, err = call("search", written(tmp_path, text), "--print_config")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert sentence in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--recipe.epochs", "1e9999"], "`recipe.epochs` must be a whole number, but got '1e9999'"),
        (["--recipe.epochs=1_0.0"], "`recipe.epochs` must be a whole number, but got '1_0.0'"),
        (["--sampler_args", "&a [*a]"], "`sampler_args` must be a mapping"),
        (["--sampler_args", "{x: &a {b: *a}}"], "`sampler_args` must be a mapping"),
        (["--data.init_args", "[" * 100_000], "`data.init_args` must be a mapping"),
        (["--data.init_args.x", "!!python/name:os.system"], ""),
        (["--seed", "9" * 5000], "`seed` must be a whole number, but got '999"),
    ],
)
def test_what_stands_behind_an_option_is_looked_at_too(call: Call, words: list[str], sentence: str) -> None:
    code, out, err = call("search", *words, "--print_config")
    assert "internal error" not in err
    if sentence:
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert sentence in err
    else:
        assert "'!!python/name:os.system'" in out


def test_what_yaml_allows_is_taken(tmp_path: Path, call: Call) -> None:
    text = """
recipe: {<<: [&base {epochs: 3, learning_rate: 1e-2}, {epochs: 4, momentum: 0.5}], label_smoothing: .1}
sampler: random
data:
  class_path: my.Data
  init_args: {a: *base, b: [*base, "1e-2", 'yes', 1e-2, 2020-01-01, null, true], c: "\\U0001f600\\x7f", d: naïve}
"""
    bom_and_crlf = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    code, out, err = call("search", written(tmp_path, bom_and_crlf), "--print_config")
    assert code == 0, err
    found: Any = yaml.safe_load(out)
    assert (found["recipe"]["epochs"], found["recipe"]["learning_rate"]) == (3, 0.01)
    assert (found["recipe"]["momentum"], found["recipe"]["label_smoothing"]) == (0.5, 0.1)
    base = {"epochs": 3, "learning_rate": 0.01}
    given = found["data"]["init_args"]
    assert given["a"] == base
    assert given["b"] == [base, "1e-2", "yes", 0.01, "2020-01-01", None, True]
    assert (given["c"], given["d"]) == ("\U0001f600\x7f", "naïve")


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | texts(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), plain, min_size=1))
def test_plain_data_survives(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    from jsonargparse import get_loader

    path = written(tmp_path_factory.getbasetemp(), yaml.safe_dump(data, allow_unicode=True))
    for key, node in read_yaml(path).items():
        if isinstance(node, yaml.CollectionNode):
            assert yaml.safe_load(text_of(node)) == data[key]
            assert get_loader("invnas")(text_of(node)) == data[key]


@given(st.text(st.sampled_from("&*a[]{}:,!<-?| \n'\"#%\x00\t1."), max_size=40))
def test_any_text_is_a_mapping_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        read_yaml(written(tmp_path_factory.getbasetemp(), text))
    except BadInput as error:
        assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("recipe: {learning_rate: 1e9999}", "`recipe.learning_rate` must be a finite number, but got '1e9999'"),
        ("recipe: {learning_rate: -1.0e+9999}", "`recipe.learning_rate` must be a finite number, but got '-1.0e+9999'"),
        ("max_latency_ms: .inf", "`max_latency_ms` must be a finite number, but got '.inf'"),
        ("stopper_args: {size: [1, 1e9999]}", "`stopper_args.size` must be a finite number, but got '1e9999'"),
        ("sampler_args: {a: {b: .nan}}", "`sampler_args.a.b` must be a finite number, but got '.nan'"),
    ],
)
def test_a_number_without_an_end_is_refused_in_the_users_words(
    call: Call, tmp_path: Path, text: str, sentence: str
) -> None:
    code, out, err = call("search", written(tmp_path, text), "--print_config")
    assert (code, out) == (2, "")
    assert err == f"invnas: error: {tmp_path / 'mine.yaml'}: {sentence}\n"
    key, _, value = text.partition(": ")
    assert call("search", f"--{key}", value, "--print_config")[2] == f"invnas: error: {sentence}\n"
