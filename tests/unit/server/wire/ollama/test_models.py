"""Bodies of the routes about models: keys and order, and that clients read what servers write."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.types.messages import Message
from server.types.models import (
    CreateProgress,
    CreateRequest,
    ModelDetails,
    ModelInfo,
    ModelSummary,
    RunningModel,
    ShowRequest,
    TensorInfo,
)
from server.wire.codec import decode, encode
from server.wire.ollama.create import create_body, create_from_body, create_progress, progress_body
from server.wire.ollama.models import (
    copy_from_body,
    go_numbers,
    model_info,
    model_summaries,
    name_from_body,
    ps_reply,
    running_models,
    show_body,
    show_from_body,
    show_reply,
    tags_reply,
)

NOW_S = 1_795_419_155.25
DETAILS = ModelDetails(
    parent_model="p",
    format="gguf",
    family="llama",
    families=("llama", "clip"),
    parameter_size="7.2B",
    quantization_level="Q8_0",
    context_length=2048,
    embedding_length=256,
)
SUMMARY = ModelSummary(
    name="me/x:1",
    namespace="me",
    digest="0" * 64,
    size_bytes=5,
    modified_at=NOW_S,
    details=DETAILS,
    capabilities=("completion", "tools"),
)


def written(reply: Any) -> Any:
    return decode(encode(reply))


def test_tags_in_ollamas_order() -> None:
    (entry,) = written(tags_reply((SUMMARY,)))["models"]
    assert list(entry) == ["name", "model", "modified_at", "size", "digest", "details", "capabilities"]
    assert list(entry["details"]) == [
        "parent_model",
        "format",
        "family",
        "families",
        "parameter_size",
        "quantization_level",
        "context_length",
        "embedding_length",
    ]
    assert encode(tags_reply(())) == b'{"models":[]}'


def test_families_may_be_null() -> None:
    bare = ModelSummary(
        name="x:latest", namespace="library", digest="", size_bytes=0, modified_at=0.0, details=ModelDetails()
    )
    (entry,) = written(tags_reply((bare,)))["models"]
    assert entry["details"]["families"] is None
    assert "capabilities" not in entry
    assert "context_length" not in entry["details"]
    assert model_summaries(written(tags_reply((bare,)))) == (bare,)


def test_tags_read_back() -> None:
    assert model_summaries(written(tags_reply((SUMMARY,)))) == (SUMMARY,)


def test_capabilities_of_a_newer_server_are_left_out() -> None:
    reply = written(tags_reply((SUMMARY,)))
    reply["models"][0]["capabilities"].append("telepathy")
    assert model_summaries(reply) == (SUMMARY,)


def running(expires_at: float) -> RunningModel:
    return RunningModel(
        name="x:1",
        digest="0" * 64,
        details=DETAILS,
        size_bytes=5,
        size_vram_bytes=3,
        expires_at=expires_at,
        n_ctx=64,
    )


def test_ps_in_ollamas_order() -> None:
    (entry,) = written(ps_reply((running(NOW_S),), NOW_S))["models"]
    assert list(entry) == [
        "name",
        "model",
        "size",
        "digest",
        "details",
        "expires_at",
        "size_vram",
        "context_length",
    ]
    assert entry["details"]["parent_model"] == ""
    assert "context_length" not in entry["details"]


@pytest.mark.parametrize("expires_at", [NOW_S + 300, math.inf])
def test_ps_reads_back(expires_at: float) -> None:
    (read,) = running_models(written(ps_reply((running(expires_at),), NOW_S)), NOW_S)
    assert read.expires_at == expires_at
    assert (read.name, read.size_bytes, read.size_vram_bytes, read.n_ctx) == ("x:1", 5, 3, 64)


def test_never_is_292_years_away() -> None:
    (entry,) = written(ps_reply((running(math.inf),), NOW_S))["models"]
    assert entry["expires_at"].startswith("2319-")


INFO = ModelInfo(
    name="x:latest",
    modelfile="FROM x",
    details=ModelDetails(format="gguf", families=("llama",)),
    license="MIT",
    parameters='stop "x"',
    template="{{ .Prompt }}",
    system="s",
    messages=(Message(role="user", content="hi"),),
    model_info={"general.architecture": "llama", "tokenizer.ggml.tokens": None, "a.b": 7},
    projector_info={"clip.has_vision_encoder": True},
    tensors=(TensorInfo("t", "F32", (2, 3)),),
    capabilities=("completion",),
    modified_at=NOW_S,
    requires="0.1.0",
)


def test_show_in_ollamas_order() -> None:
    assert list(written(show_reply(INFO))) == [
        "license",
        "modelfile",
        "parameters",
        "template",
        "system",
        "details",
        "messages",
        "model_info",
        "projector_info",
        "tensors",
        "capabilities",
        "modified_at",
        "requires",
    ]
    bare = ModelInfo(name="x", modelfile="FROM x", details=ModelDetails())
    assert list(written(show_reply(bare))) == ["modelfile", "details", "model_info", "modified_at"]


def test_show_reads_back() -> None:
    assert model_info(written(show_reply(INFO)), "x:latest") == INFO


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="is no point in time"):
        model_info({"modified_at": "yesterday"}, "x")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (struct.unpack("<f", struct.pack("<f", 1e-5))[0], "0.00001"),
        (struct.unpack("<f", struct.pack("<f", 0.1))[0], "0.1"),
        (10_000.0, "10000"),
        (0.1, "0.1"),
        (1e300, "1e300"),
        ([1.0, {"x": 2.5}], '[1,{"x":2.5}]'),
        (True, "true"),
    ],
)
def test_numbers_as_go_prints_them(value: Any, text: str) -> None:
    assert encode(go_numbers(value)).decode() == text


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_shorter_numbers_are_the_same_in_float32(value: float) -> None:
    assert struct.pack("<f", go_numbers(value)) == struct.pack("<f", value) or value == 0


@pytest.mark.parametrize("key", ["model", "name", "NAME"])
def test_a_model_goes_by_two_keys(key: str) -> None:
    body = json.dumps({key: "x"}).encode()
    assert show_from_body(body).model == "x"
    assert name_from_body(body, "DeleteRequest") == ("x", True)
    assert create_from_body(body).request.model == "x"


@given(
    st.builds(
        ShowRequest,
        model=st.text(),
        verbose=st.booleans(),
        system=st.text(),
        options=st.dictionaries(st.text(), st.integers(0, 9), max_size=2),
    )
)
def test_show_requests_read_back(request: ShowRequest) -> None:
    assert show_from_body(show_body(request)) == request


def test_copy_names() -> None:
    assert copy_from_body(b'{"source":"a","destination":"b"}') == ("a", "b")


def test_create_requests_read_back() -> None:
    request = CreateRequest(
        model="x",
        base="y",
        files={"a": "sha256:1"},
        adapters={"b": "sha256:2"},
        template="t",
        system="s",
        licenses=("MIT", "BSD"),
        parameters={"stop": ["x"], "temperature": 0.5},
        messages=(Message(role="user", content="hi"),),
        renderer="r",
        parser="p",
        requires="1",
        quantize="q4_K_M",
        info={"k": 1},
    )
    call = create_from_body(create_body(request, stream=False))
    assert call.request == request
    assert not call.stream


@pytest.mark.parametrize(
    ("license_", "expected"), [("MIT", ("MIT",)), (["a", 1, "b"], ("a", "b")), ("", ()), (1, ()), (None, ())]
)
def test_licenses(license_: Any, expected: tuple[str, ...]) -> None:
    assert create_from_body(json.dumps({"license": license_}).encode()).request.licenses == expected


def test_quantization_is_another_name_of_quantize() -> None:
    assert create_from_body(b'{"quantization":"q8_0"}').request.quantize == "q8_0"


@given(
    st.builds(CreateProgress, st.text(), st.text(), st.integers(0, 2**62), st.integers(0, 2**62)),
)
def test_status_lines_read_back(progress: CreateProgress) -> None:
    assert create_progress(written(progress_body(progress))) == progress


@given(st.binary())
def test_no_body_raises_anything_but_invalid_request(body: bytes) -> None:
    for read in (show_from_body, copy_from_body, create_from_body):
        try:
            read(body)
        except InvalidRequest as error:
            assert error.message
