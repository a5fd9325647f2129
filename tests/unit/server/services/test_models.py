"""Listing, showing, copying, deleting and uploading, in Ollama's words."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from server.errors import (
    BadModelFile,
    Forbidden,
    InvalidModelName,
    ModelNotFound,
)
from server.services.models import Models
from server.services.show import parameter_lines, value_text
from server.storage.modelfile import parse_modelfile
from server.storage.store import ModelStore
from server.types.messages import Message
from server.types.models import ModelInfo, ShowRequest
from server.types.names import ModelName
from tests.support.stores import Recorder, create, digest_of, upload
from tests.support.tiny_gguf import gguf_bytes, tiny_llama_bytes

TINY = tiny_llama_bytes()
JINJA = (
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}{{ tools }}{% endif %}<think></think>"
)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def retired() -> Recorder:
    return Recorder()


@pytest.fixture
def models(store: ModelStore, retired: Recorder) -> Models:
    return Models(store, retired)


async def tiny(models: Models, name: str = "tiny", data: bytes = TINY, **fields: object) -> None:
    await create(models, model=name, files={"tiny.gguf": await upload(models, data)}, **fields)


async def shown(models: Models, name: str, *, verbose: bool = False, system: str = "") -> ModelInfo:
    return await models.show(ShowRequest(model=name, verbose=verbose, system=system))


# Bundled


async def test_the_bundled_model_installs_once(models: Models, store: ModelStore) -> None:
    (bundled,) = await models.bundled()
    assert (bundled.name, bundled.installed) == ("spark:latest", False)
    await asyncio.gather(*(models.install_bundled(name) for name in ("spark", "spark:latest", "SPARK")))
    (summary,) = await models.list_models()
    modified_at = summary.modified_at
    await models.install_bundled("spark")
    (summary,) = await models.list_models()
    assert summary.modified_at == modified_at
    assert summary.name == "spark:latest"
    assert summary.capabilities == ("completion", "tools", "insert", "thinking")
    assert summary.details.context_length == 2048
    assert (await models.bundled())[0].installed
    assert bundled.size_bytes == store.find(ModelName.parse("spark")).manifest.layers[0].size_bytes


async def test_the_bundled_model_has_the_layers_that_ollama_made(models: Models, store: ModelStore) -> None:
    """Config, template and parameters have the digests that a real Ollama gave them."""
    await models.install_bundled("spark")
    manifest = store.find(ModelName.parse("spark")).manifest
    config = "sha256:d3afde2461fdd172beb61cf60395e6b86ba34b618f87dca04d2a70330f83e15f"
    template = "sha256:db8e2fe6ec875ab8ee83a64b03fccfbb767552b8b7d2d9df83ea4d033904c756"
    params = "sha256:bf328696c54fb5bd2cc49838d5ef407545504cfdd4faa6ff3a6fbeeffe63435c"
    assert manifest.config_digest == config
    assert [layer.kind for layer in manifest.layers] == ["model", "template", "params"]
    assert [layer.digest for layer in manifest.layers[1:]] == [template, params]


@pytest.mark.parametrize("name", ["nope", "", "a b", "spark:8b"])
async def test_no_other_model_is_bundled(models: Models, name: str) -> None:
    with pytest.raises(ModelNotFound):
        await models.install_bundled(name)


async def test_a_bundled_model_that_lost_its_weights_is_repaired(models: Models, store: ModelStore) -> None:
    await models.install_bundled("spark")
    store.find(ModelName.parse("spark")).model_path.unlink()
    await models.install_bundled("spark")
    assert store.find(ModelName.parse("spark")).is_complete


# List


async def test_an_empty_store_lists_nothing(models: Models, store: ModelStore) -> None:
    assert await models.list_models() == ()
    assert store.is_new()


async def test_the_list_leaves_out_what_a_jinja_template_can_do(models: Models) -> None:
    await tiny(models, data=tiny_llama_bytes(chat_template=JINJA))
    (summary,) = await models.list_models()
    assert summary.capabilities == ("completion",)
    assert (await shown(models, "tiny")).capabilities == ("tools", "thinking", "completion")


async def test_a_model_with_a_broken_template_is_left_out(
    models: Models, store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    await tiny(models, template="{{ .Prompt }}")
    store.blob_path(digest_of(b"{{ .Prompt }}")).write_bytes(b"{{ if")
    await tiny(models, "good")
    with caplog.at_level(logging.WARNING, "olla"):
        assert [summary.name for summary in await models.list_models()] == ["good:latest"]
    assert "tiny:latest" in caplog.text


# Show


async def test_show_in_ollamas_shape(models: Models, store: ModelStore) -> None:
    await tiny(
        models,
        template="{{ .System }}\n{{ .Prompt }}\n",
        system="Talk like a pirate.",
        parameters={"temperature": 0, "stop": ["zzz", 'say "hi"'], "num_ctx": 131072, "top_p": 0.95},
        licenses=("MIT", "Apache"),
        messages=(Message(role="user", content="Hi"), Message(role="assistant", content="Arr!\nMatey")),
    )
    info = await shown(models, "TINY")
    blob = store.blob_path(digest_of(TINY))
    assert info.modelfile == (
        '# Modelfile generated by "ollama show"\n'
        "# To build a new Modelfile based on this, replace FROM with:\n"
        "# FROM tiny:latest\n\n"
        f"FROM {blob}\n"
        'TEMPLATE "{{ .System }}\n{{ .Prompt }}\n"\n'
        "SYSTEM Talk like a pirate.\n"
        "PARAMETER num_ctx 131072\n"
        "PARAMETER stop zzz\n"
        'PARAMETER stop say "hi"\n'
        "PARAMETER temperature 0\n"
        "PARAMETER top_p 0.95\n"
        "LICENSE MIT\n"
        "LICENSE Apache\n"
        "MESSAGE user Hi\n"
        'MESSAGE assistant "Arr!\nMatey"\n'
    )
    assert info.parameters == (
        "num_ctx                        131072\n"
        'stop                           "zzz"\n'
        'stop                           "say \\"hi\\""\n'
        "temperature                    0\n"
        "top_p                          0.95"
    )
    assert (info.license, info.system) == ("MIT\nApache", "Talk like a pirate.")
    assert info.template == "{{ .System }}\n{{ .Prompt }}\n"
    assert [m.content for m in info.messages] == ["Hi", "Arr!\nMatey"]
    assert (info.details.context_length, info.details.embedding_length) == (0, 0)
    assert info.capabilities == ("completion",)
    assert parse_modelfile(info.modelfile)[0].value == str(blob)


async def test_show_hides_arrays_and_names_unless_verbose(models: Models) -> None:
    await tiny(models, data=tiny_llama_bytes(chat_template=JINJA))
    info = await shown(models, "tiny")
    assert info.model_info["tokenizer.ggml.tokens"] is None
    assert not {"general.name", "tokenizer.chat_template"} & set(info.model_info)
    full = await shown(models, "tiny", verbose=True)
    assert len(full.model_info["tokenizer.ggml.tokens"]) == 288
    assert set(full.model_info) == set(info.model_info)
    assert full.tensors == info.tensors
    assert info.template == JINJA
    assert "TEMPLATE" not in info.modelfile


async def test_tensors_in_llamas_order(models: Models) -> None:
    await models.install_bundled("spark")
    names = [tensor.name for tensor in (await shown(models, "spark")).tensors]
    assert names[:4] == [
        "output_norm.weight",
        "token_embd.weight",
        "blk.0.attn_k.weight",
        "blk.0.attn_norm.weight",
    ]
    assert names[-1] == "blk.5.ffn_up.weight"


async def test_show_echoes_what_the_request_overrides(models: Models) -> None:
    await tiny(models, system="own", parameters={"top_k": 5})
    request = ShowRequest(model="tiny", system="asked", options={"top_k": 7, "seed": 1})
    info = await models.show(request)
    assert info.system == "asked"
    assert "SYSTEM asked\n" in info.modelfile
    assert "PARAMETER top_k 7\nPARAMETER seed 1\n" in info.modelfile
    assert info.parameters == f"{'top_k':<30} 5"


async def test_projectors_are_shown(models: Models) -> None:
    clip = {"general.architecture": "clip", "clip.has_vision_encoder": True, "clip.has_audio_encoder": True}
    projector = await upload(models, gguf_bytes({**clip, "general.name": "p", "clip.vision.block_count": 1}))
    files = {"a.gguf": await upload(models, TINY), "mmproj.gguf": projector}
    await create(models, model="sees", files=files)
    info = await shown(models, "sees")
    assert info.projector_info is not None
    assert info.projector_info["general.name"] == "p"
    assert info.capabilities == ("completion", "vision", "audio")
    assert (await models.list_models())[0].capabilities == ("completion", "vision")
    assert info.modelfile.count("\nFROM ") == 2


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", InvalidModelName, "model is required"),
        ("a b", InvalidModelName, "invalid model name"),
        ("nope", ModelNotFound, "model 'nope:latest' not found"),
        ("nope:local", ModelNotFound, "model 'nope:latest' not found"),
        ("x:cloud", Forbidden, "ollama cloud is disabled: remote model details are unavailable"),
        ("x:cloud:local", InvalidModelName, 'use either :local or :cloud, not both: "x:cloud:local"'),
    ],
)
async def test_show_refuses(models: Models, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        await models.show(ShowRequest(model=name))
    assert str(caught.value) == message


async def test_damaged_weights_are_told(models: Models, store: ModelStore) -> None:
    await tiny(models)
    store.blob_path(digest_of(TINY)).write_bytes(TINY[:500])
    with pytest.raises(BadModelFile, match="truncated"):
        await shown(models, "tiny")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (0.7, "0.7"),
        (1048576, "1048576"),
        (1048576.0, "1048576"),
        (-1, "-1"),
        (0.00001, "1e-05"),
        (0.0001, "0.0001"),
        (True, "true"),
        (None, "<nil>"),
        ("x", "x"),
    ],
)
def test_values_as_go_prints_them_but_plain_whole_numbers(value: object, text: str) -> None:
    assert value_text(value) == text


def test_parameter_names_fill_thirty_columns() -> None:
    (line,) = parameter_lines({"a": True})
    assert line == "a" + " " * 30 + "true"


# Copy and delete


async def test_copy_and_delete(models: Models, retired: Recorder, store: ModelStore) -> None:
    await tiny(models)
    await models.copy("tiny", "c")
    first, second = sorted(await models.list_models(), key=lambda summary: summary.name)
    assert (first.name, first.digest) == ("c:latest", second.digest)
    assert retired.names == []
    await models.delete("C")
    assert retired.names == ["c:latest"]
    assert [summary.name for summary in await models.list_models()] == ["tiny:latest"]
    await models.delete("tiny")
    assert retired.names == ["c:latest", "tiny:latest"]
    assert list(store.paths.blobs.iterdir()) == []


async def test_copy_over_a_model_retires_it(models: Models, retired: Recorder) -> None:
    await tiny(models, "a", system="a")
    await tiny(models, "b", system="b")
    await models.copy("a", "B")
    assert retired.names == ["b:latest"]
    assert (await shown(models, "b")).system == "a"


@pytest.mark.parametrize(
    ("source", "destination", "error", "message"),
    [
        ("", "b", InvalidModelName, 'source "" is invalid'),
        ("a b", "b", InvalidModelName, 'source "a b" is invalid'),
        ("a", "/bad", InvalidModelName, 'destination "/bad" is invalid'),
        ("nope", "b", ModelNotFound, "model 'nope' not found"),
    ],
)
async def test_copy_refuses(
    models: Models, source: str, destination: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        await models.copy(source, destination)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", InvalidModelName, "model is required"),
        ("a b", InvalidModelName, 'name "a b" is invalid'),
        ("nope", ModelNotFound, "model 'nope' not found"),
    ],
)
async def test_delete_refuses(models: Models, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        await models.delete(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("spelling", ["tiny:8b:cloud", "tiny:8b-cloud"])
async def test_delete_knows_the_stored_name_of_a_cloud_model(models: Models, spelling: str) -> None:
    await tiny(models, "tiny:8b-cloud")
    await models.delete(spelling)
    assert await models.list_models() == ()


async def test_a_line_of_the_list_is_made_once_and_again_when_something_changes(
    models: Models, store: ModelStore
) -> None:
    await tiny(models)
    await create(models, model="other", base="tiny", system="Hi")
    first = {model.name: model for model in await models.list_models()}
    second = {model.name: model for model in await models.list_models()}
    assert all(second[name] is first[name] for name in first)
    await create(models, model="other", base="tiny", system="Hello")
    third = {model.name: model for model in await models.list_models()}
    assert third["tiny:latest"] is first["tiny:latest"]
    assert third["other:latest"].digest != first["other:latest"].digest
    weights = store.blob_path(digest_of(TINY))
    weights.rename(weights.with_name("away"))
    gone = {model.name: model for model in await models.list_models()}
    assert gone["tiny:latest"].details.context_length == 0
    weights.with_name("away").rename(weights)
    back = {model.name: model for model in await models.list_models()}
    assert back["tiny:latest"] == first["tiny:latest"]
    await models.delete("other")
    assert [model.name for model in await models.list_models()] == ["tiny:latest"]
