"""Adapters: what is refused, and what a layer of one is in a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from server.convert.adapter import plan_adapter
from server.errors import BadModelFile, InvalidRequest
from server.services.models import Models
from server.storage.store import ModelStore
from server.types.names import ModelName
from tests.support.hugging_face import N_HEAD, N_HEAD_KV, Checkpoint, write_safetensors
from tests.support.stores import Recorder, create, put

HEADS = (N_HEAD, N_HEAD_KV)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return Checkpoint("LlamaForCausalLM").write_adapter(tmp_path / "lora")


@pytest.mark.parametrize(
    ("changes", "base", "message"),
    [
        ({"peft_type": "IA3"}, "llama", "of the kind IA3"),
        ({"use_dora": True}, "llama", "with DoRA"),
        ({}, "mamba", "of mamba models"),
    ],
)
def test_other_kinds_are_refused(
    files: dict[str, Path], changes: dict[str, object], base: str, message: str
) -> None:
    config = files["adapter_config.json"]
    config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    with pytest.raises(InvalidRequest, match=f"adapters {message} cannot be converted"):
        plan_adapter(files, base, *HEADS)


@pytest.mark.parametrize(
    "name",
    ["model.lm_head.weight", "model.layers.0.odd.lora_A.weight", "model.embed_tokens.lora_embedding_A"],
)
def test_tensors_that_have_no_place_are_refused(files: dict[str, Path], tmp_path: Path, name: str) -> None:
    files["more.safetensors"] = tmp_path / "more.safetensors"
    tensor = ("F32", np.zeros((4, 4), np.float32))
    write_safetensors(files["more.safetensors"], {f"base_model.model.{name}": tensor})
    with pytest.raises(InvalidRequest, match="of the adapter cannot be converted"):
        plan_adapter(files, "llama", *HEADS)


def test_what_is_missing_and_what_does_not_fit(files: dict[str, Path]) -> None:
    with pytest.raises(BadModelFile, match="do not make 5 heads"):
        plan_adapter(files, "llama", 5, 2)
    del files["adapter_config.json"]
    with pytest.raises(BadModelFile, match="no adapter_config"):
        plan_adapter(files, "llama", *HEADS)


async def test_a_model_with_an_adapter(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    models = Models(store, Recorder())
    checkpoint = Checkpoint("LlamaForCausalLM")
    sent = {name: put(store, path.read_bytes()) for name, path in checkpoint.write(tmp_path / "hf").items()}
    await create(models, model="plain", files=sent)
    lora = checkpoint.write_adapter(tmp_path / "lora")
    adapters = {name: put(store, path.read_bytes()) for name, path in lora.items()}
    lines = await create(models, model="tuned", base="plain", adapters=adapters)
    assert lines[0] == "converting adapter"
    tuned = store.find(ModelName.parse("tuned"))
    assert [layer.kind for layer in tuned.manifest.layers] == ["model", "adapter"]
    (path,) = tuned.adapter_paths
    metadata = store.read_metadata(path)
    assert (metadata.kind, metadata.architecture) == ("adapter", "llama")
    assert metadata.header.metadata["adapter.lora.alpha"] == 8
    assert "blk.1.attn_q.weight.lora_b" in {tensor.name for tensor in metadata.header.tensors}
