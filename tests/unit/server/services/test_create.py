"""Making models: checks in Ollama's order and words, layers, inheritance, status lines."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import (
    BadModelFile,
    BlobNotFound,
    Forbidden,
    InvalidModelName,
    InvalidOption,
    InvalidRequest,
    InvalidTemplate,
    ModelNotFound,
)
from server.services.models import Models
from server.storage.store import ModelStore, StoredModel
from server.types.messages import Message, ToolCall
from server.types.models import ShowRequest
from server.types.names import ModelName
from tests.support.stores import Recorder, create, digest_of, put, steps
from tests.support.tiny_gguf import gguf_bytes, tiny_llama_bytes

TINY = tiny_llama_bytes()
MODELS = Path(__file__).parents[3] / "models"
PLAIN_TEMPLATE = (MODELS / "plain.gotmpl").read_text()
HALF = (MODELS / "spark-f16.gguf").read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def retired() -> Recorder:
    return Recorder()


@pytest.fixture
def models(store: ModelStore, retired: Recorder) -> Models:
    return Models(store, retired)


def found(store: ModelStore, name: str) -> StoredModel:
    return store.find(ModelName.parse(name))


async def from_file(
    models: Models, store: ModelStore, name: str, data: bytes = TINY, **fields: Any
) -> list[str]:
    return await create(models, model=name, files={"m.gguf": put(store, data)}, **fields)


# Checks


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"model": "x"}, InvalidRequest, "neither 'from' or 'files' was specified"),
        ({"model": "x", "files": {"../a": "b"}}, InvalidRequest, "file path must be relative"),
        ({"model": "x", "files": {"/a": "b"}}, InvalidRequest, "file path must be relative"),
        ({"model": "x", "files": {"a/./b": "b"}}, InvalidRequest, "file path must be relative"),
        ({"model": "x", "files": {"a//b": "b"}}, InvalidRequest, "file path must be relative"),
        ({"model": "x", "files": {"a": ""}}, InvalidRequest, "invalid digest format"),
        ({"model": "x", "files": {"a.gguf": "b"}}, InvalidRequest, "invalid digest format"),
        ({"model": "x", "draft_files": {"../a": "b"}}, InvalidRequest, "file path must be relative"),
        ({"model": "x", "adapters": {"a": ""}}, InvalidRequest, "invalid digest format"),
        ({"model": "x", "draft_quantize": "Q8_0"}, InvalidRequest, "--draft-quantize requires a DRAFT model"),
        ({"model": ""}, InvalidModelName, "invalid model name"),
        ({"model": "x y", "base": "nope"}, InvalidModelName, "invalid model name"),
        ({"model": "x", "base": "a b"}, InvalidModelName, "invalid model name"),
        ({"model": "x", "base": "nope"}, ModelNotFound, "model 'nope:latest' not found"),
        (
            {"model": "x", "base": "big:cloud"},
            Forbidden,
            "ollama cloud is disabled: remote model is unavailable",
        ),
        (
            {"model": "x", "base": "m", "remote_host": "http://h"},
            Forbidden,
            "ollama cloud is disabled: remote model is unavailable",
        ),
    ],
)
async def test_checks_before_anything_is_reported(
    models: Models, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    lines: list[str] = []
    with pytest.raises(error) as caught:
        async for progress in steps(models, **fields):
            lines.append(progress.status)
    assert str(caught.value) == message
    assert set(lines) <= {"parsing GGUF"}


async def test_files_must_be_gguf(models: Models, store: ModelStore) -> None:
    text = put(store, b"hello world, no model")
    with pytest.raises(InvalidRequest, match=r"^supplied file was not in GGUF format$"):
        await create(models, model="x", files={"a.gguf": text})
    with pytest.raises(InvalidRequest, match=r"^unknown type$"):
        await create(models, model="x", files={"a.bin": text})
    with pytest.raises(InvalidRequest, match=r"the model has no config\.json"):
        await create(models, model="x", files={"model.safetensors": text, "a.gguf": text})
    with pytest.raises(InvalidRequest, match="an adapter is no model"):
        await create(models, model="x", files={"adapter_model.safetensors": text})
    with pytest.raises(BlobNotFound):
        await create(models, model="x", files={"a.gguf": digest_of(b"never sent")})
    damaged = put(store, TINY[:300])
    with pytest.raises(BadModelFile, match="truncated"):
        await create(models, model="x", files={"a.gguf": damaged})
    absurd = put(
        store, b"GGUF" + (3).to_bytes(4, "little") + bytes(8) + b"\x01" + bytes(7) + b"\xff" * 8 + bytes(99)
    )
    with pytest.raises(BadModelFile) as caught:
        await create(models, model="x", files={"a.gguf": absurd})
    assert str(caught.value) == "GGUF string length 18446744073709551615 exceeds maximum 9223372036854775807"
    assert store.list_models() == []


async def test_a_gguf_needs_no_suffix(models: Models, store: ModelStore) -> None:
    lines = await create(models, model="x", files={"weights": put(store, TINY)})
    assert lines[-1] == "success"


async def test_templates_are_checked(models: Models, store: ModelStore) -> None:
    with pytest.raises(InvalidTemplate, match=r"^template error: "):
        await from_file(models, store, "x", template="{{ if")
    assert store.list_models() == []


async def test_parameters_are_checked(models: Models, store: ModelStore) -> None:
    """Ollama takes a `stop` that is no list, and then fails every request with the model."""
    with pytest.raises(InvalidOption, match=r'^option "stop" must be of type array$'):
        await from_file(models, store, "x", parameters={"stop": "zzz"})


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"model_family": 5}, 'info field "model_family" must be a string'),
        ({"parameter_size": None}, 'info field "parameter_size" must be a string'),
        ({"context_length": "5"}, 'info field "context_length" must be a number'),
        ({"embedding_length": 1.5}, 'info field "embedding_length" must be a non-negative integer'),
        ({"context_length": -1}, 'info field "context_length" must be a non-negative integer'),
        ({"context_length": float("inf")}, 'info field "context_length" must be a non-negative integer'),
    ],
)
async def test_info_is_checked(models: Models, store: ModelStore, info: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await from_file(models, store, "x", info=info)
    assert str(caught.value) == message


# Layers


async def test_the_smallest_gguf(models: Models, store: ModelStore) -> None:
    """Blobs that a real Ollama made of this file."""
    raw = gguf_bytes({"general.architecture": "test"})[:68]
    assert (
        hashlib.sha256(raw).hexdigest() == "89a2116c3a82d6a97f59f748d86ed4417214353fd178ee54df418fde32495fad"
    )
    await from_file(models, store, "t", raw)
    manifest = found(store, "t").manifest
    assert manifest.config_digest == "sha256:99759ad5b91e723db0393d698ffbb448b1b7df5ff6377a108c49254583b1bc8c"


async def test_lines_and_layers_of_a_file(models: Models, store: ModelStore) -> None:
    digest = put(store, TINY)
    lines = await create(
        models,
        model="m",
        files={"m.gguf": digest},
        template=PLAIN_TEMPLATE,
        parameters={"stop": ["<|im_end|>"]},
    )
    assert lines == [
        "parsing GGUF",
        "verifying conversion",
        f"using existing layer {digest}",
        "creating new layer sha256:62fbfd9ed093d6e5ac83190c86eec5369317919f4b149598d2dbb38900e9faef",
        "creating new layer sha256:bf328696c54fb5bd2cc49838d5ef407545504cfdd4faa6ff3a6fbeeffe63435c",
        "writing manifest",
        "success",
    ]
    assert found(store, "m").parent == ""


async def test_lines_and_layers_of_a_derived_model(models: Models, store: ModelStore) -> None:
    """The digests are those that a real Ollama reported for the same request."""
    digest = put(store, TINY)
    await create(
        models,
        model="plain",
        files={"m.gguf": digest},
        template=PLAIN_TEMPLATE,
        parameters={"stop": ["<|im_end|>"]},
    )
    lines = await create(
        models,
        model="withsys",
        base="plain:latest",
        system="Talk like a pirate.",
        parameters={"temperature": 0, "stop": ["zzz"]},
        licenses=("MIT",),
        messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Arr!")),
    )
    assert lines == [
        f"using existing layer {digest}",
        "using existing layer sha256:62fbfd9ed093d6e5ac83190c86eec5369317919f4b149598d2dbb38900e9faef",
        "creating new layer sha256:8e94105658ee968ec57153a32b15ea4ff46317970676948889a858111ef8979c",
        "creating new layer sha256:e5dcffe836b6ec8a58e492419b550e65fb8cbdc308503979e5dacb33ac7ea3b7",
        "creating new layer sha256:6b6de0cbf11129aea531806027f24bb590fdcc2de171c109eaa6c25e6f84a81f",
        "creating new layer sha256:0f14d31260cbc82dbdaabb65c5cd33bf140182beb1bb6e1b7bc67a4d292a2bef",
        "writing manifest",
        "success",
    ]
    model = found(store, "withsys")
    assert [layer.kind for layer in model.manifest.layers] == [
        "model",
        "template",
        "system",
        "license",
        "params",
        "messages",
    ]
    assert model.parent == "plain:latest"
    assert all(layer.source == "plain:latest" for layer in model.manifest.layers[:2])


async def test_inheritance(models: Models, store: ModelStore) -> None:
    first = (Message(role="user", content="one"),)
    await from_file(
        models,
        store,
        "base",
        system="base system",
        template="{{ .Prompt }}!",
        parameters={"top_k": 5, "stop": ["a"]},
        licenses=("one",),
        messages=first,
        renderer="r",
        parser="passthrough",
        requires="0.14.0",
    )
    await create(models, model="child", base="base", parameters={"stop": ["b"], "seed": 1}, licenses=("two",))
    child = found(store, "child")
    assert child.params == {"seed": 1, "stop": ["b"], "top_k": 5}
    assert child.licenses == ("one", "two")
    assert (child.system, child.template, child.messages) == ("base system", "{{ .Prompt }}!", first)
    assert (child.config.renderer, child.config.parser, child.config.requires) == (
        "r",
        "passthrough",
        "0.14.0",
    )
    second = (Message(role="user", content="two"),)
    await create(models, model="child", base="child", messages=second, system="new", renderer="other")
    child = found(store, "child")
    assert (child.messages, child.system, child.config.renderer) == (second, "new", "other")
    assert child.params == {"seed": 1, "stop": ["b"], "top_k": 5}


async def test_recreating_replaces_and_retires(models: Models, store: ModelStore, retired: Recorder) -> None:
    await from_file(models, store, "m", system="one", template="{{ .Prompt }} one")
    await from_file(models, store, "M", template="{{ .Prompt }} two")
    assert retired.names == ["m:latest"]
    model = found(store, "m")
    assert model.system == ""
    assert store.has_blob(digest_of(TINY))
    assert not store.has_blob(digest_of(b"{{ .Prompt }} one"))
    assert not store.has_blob(digest_of(b"one"))


async def test_retired_even_when_nobody_waits_for_the_end(
    models: Models, store: ModelStore, retired: Recorder
) -> None:
    await from_file(models, store, "m", system="one")
    stream: AsyncGenerator[Any, None]
    async with aclosing(steps(models, model="m", base="m", system="two")) as stream:
        async for _ in stream:
            break
    assert found(store, "m").system == "two"
    assert retired.names == ["m:latest"]


async def test_a_bundled_base_is_installed(models: Models, store: ModelStore) -> None:
    assert (await create(models, model="pirate", base="spark", system="Arr"))[-1] == "success"
    assert {model.name.display() for model in store.list_models()} == {"pirate:latest", "spark:latest"}


async def test_info_overrides_the_config(models: Models, store: ModelStore) -> None:
    info = {
        "model_family": "mine",
        "parameter_size": "1T",
        "quantization_level": "Q9",
        "base_name": "b",
        "context_length": 99.0,
        "embedding_length": 7,
        "capabilities": ["vision", 5],
    }
    await from_file(models, store, "m", info=info)
    model = found(store, "m")
    assert model.config.model_families == ("mine", "llama")
    assert (model.config.model_type, model.config.file_type) == ("1T", "Q9")
    assert (model.details().context_length, model.details().embedding_length) == (99, 7)
    assert model.config.base_name == "b"
    assert model.capabilities() == ("vision", "completion")


async def test_adapters(models: Models, store: ModelStore) -> None:
    adapter = put(store, gguf_bytes({"general.architecture": "llama", "general.type": "adapter"}))
    await from_file(models, store, "base")
    lines = await create(models, model="tuned", base="base", adapters={"lora.gguf": adapter})
    assert lines[0] == "parsing GGUF"
    model = found(store, "tuned")
    assert [path.name for path in model.adapter_paths] == [adapter.replace(":", "-")]
    info = await models.show(ShowRequest(model="tuned"))
    assert f"\nADAPTER {model.adapter_paths[0]}\n" in info.modelfile
    with pytest.raises(InvalidRequest, match=r"^only one adapter is currently supported$"):
        await create(models, model="x", base="base", adapters={"a.gguf": adapter, "b.gguf": adapter})


async def test_drafts(models: Models, store: ModelStore) -> None:
    draft = put(store, tiny_llama_bytes(seed=1))
    await from_file(models, store, "m", draft_files={"draft.gguf": draft})
    model = found(store, "m")
    assert model.draft_path == store.blob_path(draft)
    assert (model.config.draft_format, model.config.draft_architecture) == ("gguf", "llama")
    info = await models.show(ShowRequest(model="m"))
    assert f"\nDRAFT {model.draft_path}\n" in info.modelfile


async def test_built_in_renderers_of_architectures(models: Models, store: ModelStore) -> None:
    gemma = gguf_bytes({"general.architecture": "gemma4", "gemma4.block_count": 1})
    await from_file(models, store, "g", gemma)
    model = found(store, "g")
    assert (model.config.renderer, model.config.parser) == ("gemma4", "gemma4")
    assert model.params == {"stop": ["<turn|>"]}
    assert set(model.capabilities()) == {"completion", "tools", "thinking"}
    await from_file(models, store, "own", gemma, parameters={"stop": ["x"]}, renderer="r")
    model = found(store, "own")
    assert (model.config.renderer, model.config.parser) == ("r", "gemma4")
    assert model.params == {"stop": ["x"]}


async def test_files_that_ollama_leaves_alone_report_no_conversion(models: Models, store: ModelStore) -> None:
    raw = gguf_bytes(
        {"general.architecture": "llama", "llama.block_count": 1}, [("v.patch", np.ones(4, np.float32))]
    )
    assert "verifying conversion" not in await from_file(models, store, "m", raw)


async def test_messages_keep_pictures_and_calls(models: Models, store: ModelStore) -> None:
    messages = (
        Message(role="user", content="look", images=(b"\x89PNG",)),
        Message(role="assistant", thinking="hm", tool_calls=(ToolCall("f", {"b": 1, "a": "<"}, id="c1"),)),
        Message(role="tool", content="5", tool_name="f", tool_call_id="c1"),
    )
    await from_file(models, store, "m", messages=messages)
    assert found(store, "m").messages == messages
