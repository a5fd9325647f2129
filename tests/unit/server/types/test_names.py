"""Names of models: grammar, defaults, display form and source suffixes."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidModelName
from server.types.names import ModelName, split_source

host_parts = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,30}", fullmatch=True)
namespace_parts = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}", fullmatch=True)
model_parts = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", fullmatch=True)
names = st.builds(
    ModelName,
    st.one_of(st.just("registry.ollama.ai"), host_parts),
    st.one_of(st.just("library"), namespace_parts),
    model_parts,
    st.one_of(st.just("latest"), model_parts),
)


@pytest.mark.parametrize(
    ("text", "full", "display"),
    [
        ("spark", "registry.ollama.ai/library/spark:latest", "spark:latest"),
        ("spark:8b-q4_0", "registry.ollama.ai/library/spark:8b-q4_0", "spark:8b-q4_0"),
        ("me/x:1", "registry.ollama.ai/me/x:1", "me/x:1"),
        ("hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M", "hf.co/u/r:Q4_K_M"),
        ("host/library/model:t", "host/library/model:t", "host/library/model:t"),
        ("registry.OLLAMA.ai/x/m:t", "registry.OLLAMA.ai/x/m:t", "x/m:t"),
        ("registry.OLLAMA.ai/Library/m:t", "registry.OLLAMA.ai/Library/m:t", "m:t"),
        ("localhost:5000/ns/m", "localhost:5000/ns/m:latest", "localhost:5000/ns/m:latest"),
        ("https://h.example/n/m:t", "h.example/n/m:t", "h.example/n/m:t"),
        ("_why/_the/_lucky:_stiff", "_why/_the/_lucky:_stiff", "_why/_the/_lucky:_stiff"),
        ("host:https/ns/model:tag", "host:https/ns/model:tag", "host:https/ns/model:tag"),
        (f"{'h' * 350}/n/m", f"{'h' * 350}/n/m:latest", f"{'h' * 350}/n/m:latest"),
    ],
)
def test_parse_fills_in_defaults(text: str, full: str, display: str) -> None:
    name = ModelName.parse(text)
    assert name.full() == full
    assert name.display() == display


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "m ",
        "a b",
        "-a",
        ".a",
        "a/-b",
        "m:",
        ":t",
        "/m",
        "a//b",
        "a/b/",
        "a/b/c/d",
        "..",
        "../../etc:passwd",
        "m:..",
        "m@sha256:0000",
        "x@y",
        "localhost:5000/m",
        "dotted.namespace/m",
        "m\n",
        "münchen",
        "m:t\x00",
        "http://m",
        "a" * 81,
        f"{'n' * 81}/m",
        f"m:{'t' * 81}",
        f"{'h' * 351}/n/m",
        "a\\b",
    ],
)
def test_parse_refuses_what_breaks_the_grammar(text: str) -> None:
    with pytest.raises(InvalidModelName, match=r"^invalid model name$"):
        ModelName.parse(text)


def test_an_instance_is_valid_by_construction() -> None:
    with pytest.raises(InvalidModelName):
        ModelName("h", "n", "..", "t")


@given(names)
def test_display_reads_back(name: ModelName) -> None:
    assert ModelName.parse(name.display()).folded() == name.folded()
    assert ModelName.parse(name.full()) == name
    assert ModelName.parse(ModelName.parse(name.display()).display()).display() == name.display()


@given(names)
def test_path_reads_back_and_stays_below(name: ModelName) -> None:
    path = name.relative_path()
    assert len(path.parts) == 4
    assert not path.is_absolute()
    assert not {"..", "."} & set(path.parts)
    assert ModelName.from_path(path) == name


@given(st.one_of(st.text(), st.text(alphabet="ab.:/-_@!A0 \n")))
def test_parse_raises_nothing_else(text: str) -> None:
    try:
        name = ModelName.parse(text)
    except InvalidModelName:
        return
    assert ModelName.parse(name.full()) == name


@pytest.mark.parametrize("path", ["a/b/c", "a/b/c/d/e", "a/b/c/.d", "a/b/c/..", "a/b.c/d/e"])
def test_from_path_refuses_other_paths(path: str) -> None:
    with pytest.raises(InvalidModelName):
        ModelName.from_path(PurePosixPath(path))


@pytest.mark.parametrize(
    ("text", "base", "source"),
    [
        ("m", "m", ""),
        ("m:8b", "m:8b", ""),
        ("  m:8b ", "m:8b", ""),
        ("m:cloud", "m", "cloud"),
        ("m:CLOUD", "m", "cloud"),
        ("gpt-oss:20b:cloud", "gpt-oss:20b", "cloud"),
        ("gpt-oss:20b-cloud", "gpt-oss:20b", "cloud"),
        ("m:local", "m", "local"),
        ("m:8b:Local", "m:8b", "local"),
        ("my-cloud-model", "my-cloud-model", ""),
        ("my-cloud", "my-cloud", ""),
        ("foo:bar-cloud/baz", "foo:bar-cloud/baz", ""),
        ("h:5000/n/m-cloud", "h:5000/n/m-cloud", ""),
    ],
)
def test_source_suffixes(text: str, base: str, source: str) -> None:
    assert split_source(text) == (base, source)


@pytest.mark.parametrize("text", ["x:cloud:local", "x:local:cloud", "x:20b-cloud:cloud", "x:cloud:cloud"])
def test_two_suffixes_are_refused(text: str) -> None:
    with pytest.raises(InvalidModelName) as caught:
        split_source(text)
    assert str(caught.value) == f'use either :local or :cloud, not both: "{text}"'


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_name_is_required(text: str) -> None:
    with pytest.raises(InvalidModelName, match=r"^model is required$"):
        split_source(text)


@given(st.text())
def test_split_source_raises_nothing_else(text: str) -> None:
    try:
        base, source = split_source(text)
    except InvalidModelName:
        return
    assert source in ("", "local", "cloud")
    assert len(base) <= len(text)
