"""Plans: what is refused, with which words, and what a tensor becomes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.convert.conversion import permute, plan
from server.convert.names import BERT, DECODER, NOMIC, new_name
from server.convert.safetensors import as_float32, from_float32, load, read_index
from server.errors import BadModelFile, InvalidRequest, OllaError
from server.gguf.reader import read_header
from tests.support.hugging_face import Checkpoint, SeeingCheckpoint, write_safetensors


def edit(path: Path, **changes: object) -> None:
    values = json.loads(path.read_text())
    path.write_text(
        json.dumps({key: value for key, value in {**values, **changes}.items() if value is not None})
    )


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


BROKEN: dict[str, tuple[Callable[[dict[str, Path]], object], str]] = {
    "no config": (lambda f: f.pop("config.json"), "the model has no config.json"),
    "config is no JSON": (lambda f: f["config.json"].write_text("{"), "config.json is no JSON"),
    "unknown": (lambda f: edit(f["config.json"], architectures=["New"]), 'unsupported architecture "New"'),
    "a missing number": (
        lambda f: edit(f["config.json"], hidden_size=None),
        "config.json has no hidden_size",
    ),
    "a wrong number": (lambda f: edit(f["config.json"], num_hidden_layers="2"), "no num_hidden_layers"),
    "no tensors": (lambda f: f.pop("model.safetensors"), "the model has no tensors"),
    "truncated": (lambda f: truncate(f["model.safetensors"]), "is truncated"),
    "a pointer": (
        lambda f: f["model.safetensors"].write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        "is a pointer of Git LFS",
    ),
    "a huge header": (
        lambda f: f["model.safetensors"].write_bytes(b"\xff" * 7 + b"\x00" + b"{}"),
        "is no safetensors file",
    ),
    "heads": (lambda f: edit(f["config.json"], num_attention_heads=7), "do not make 7 heads"),
    "no tokenizer": (lambda f: f.pop("tokenizer.json"), "no tokenizer.json"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_named(tmp_path: Path, kind: str) -> None:
    damage, message = BROKEN[kind]
    files = Checkpoint("LlamaForCausalLM").write(tmp_path)
    damage(files)
    with pytest.raises(OllaError) as caught:
        plan(files)
    assert message in str(caught.value)


def test_a_part_that_is_missing_is_noticed(tmp_path: Path) -> None:
    files = Checkpoint("LlamaForCausalLM").write(tmp_path, n_files=2)
    del files["model-00002-of-00002.safetensors"]
    with pytest.raises(BadModelFile, match="a part of the model is missing"):
        plan(files)


@pytest.mark.parametrize(("kind", "type_"), [("F8_E4M3", np.uint8), ("I64", np.int64)])
def test_types_that_cannot_be_converted(tmp_path: Path, kind: str, type_: type) -> None:
    files = Checkpoint("LlamaForCausalLM").write(tmp_path)
    files["x.safetensors"] = tmp_path / "x.safetensors"
    name = "model.layers.0.self_attn.q_proj.bias"
    write_safetensors(files["x.safetensors"], {name: (kind, np.zeros(64, type_))})
    with pytest.raises(InvalidRequest, match=f"of the type {kind}"):
        plan(files)


def test_a_tensor_that_nobody_knows(tmp_path: Path) -> None:
    files = Checkpoint("LlamaForCausalLM").write(tmp_path)
    files["x.safetensors"] = tmp_path / "x.safetensors"
    write_safetensors(files["x.safetensors"], {"model.layers.0.odd.weight": ("F16", np.zeros(4, np.float16))})
    with pytest.raises(InvalidRequest, match=r"odd\.weight' is none that LlamaForCausalLM has"):
        plan(files)


@pytest.mark.parametrize(("kind", "file_type"), [("F32", 1), ("F16", 1), ("BF16", 32)])
def test_types_of_the_result(tmp_path: Path, kind: str, file_type: int) -> None:
    conversion = plan(Checkpoint("LlamaForCausalLM", kind=kind).write(tmp_path / "hf"))
    target = tmp_path / "x.gguf"
    with target.open("wb") as file:
        assert list(conversion.write(file))[-1] == conversion.size_bytes
    header = read_header(target)
    assert header.file_bytes == conversion.size_bytes
    assert header.metadata["general.file_type"] == file_type
    assert header.metadata["general.name"] == "Tiny"
    kinds = {info.name: info.type for info in header.tensors}
    assert kinds["blk.0.attn_q.weight"] == ("BF16" if kind == "BF16" else "F16")
    assert kinds["blk.0.attn_norm.weight"] == "F32"


def metadata_of(files: dict[str, Path], target: Path) -> dict[str, object]:
    with target.open("wb") as file:
        list(plan(files).write(file))
    return read_header(target).metadata


def test_gemma_puts_no_blank_before_a_text(tmp_path: Path) -> None:
    files = Checkpoint("GemmaForCausalLM", head_dim=16).write(tmp_path / "hf")
    vocab = {f"<0x{byte:02X}>": byte for byte in range(256)}
    edit(files["tokenizer.json"], model={"type": "BPE", "byte_fallback": True, "vocab": vocab, "merges": []})
    metadata = metadata_of(files, tmp_path / "x.gguf")
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.add_space_prefix"] is False


def test_what_the_config_of_gemma_3_4b_leaves_out(tmp_path: Path) -> None:
    files = SeeingCheckpoint("language_model.model", "").write(tmp_path / "hf")
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    edit(files["config.json"], text_config=text)
    metadata = metadata_of(files, tmp_path / "x.gguf")
    assert {key: value for key, value in metadata.items() if key.startswith("gemma3.")} == {
        "gemma3.block_count": 34,
        "gemma3.context_length": 131072,
        "gemma3.embedding_length": 2560,
        "gemma3.feed_forward_length": 10240,
        "gemma3.attention.head_count": 8,
        "gemma3.attention.head_count_kv": 4,
        "gemma3.attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
        "gemma3.attention.key_length": 256,
        "gemma3.attention.value_length": 256,
        "gemma3.attention.sliding_window": 1024,
        "gemma3.rope.freq_base": 1e6,
        "gemma3.rope.scaling.type": "linear",
        "gemma3.rope.scaling.factor": 8.0,
    }


def test_a_decoder_with_a_pooling_file_embeds(tmp_path: Path) -> None:
    files = Checkpoint("Qwen3ForCausalLM", head_dim=32).write(tmp_path / "hf")
    assert "qwen3.pooling_type" not in metadata_of(files, tmp_path / "x.gguf")
    files["1_Pooling/config.json"] = tmp_path / "pooling.json"
    files["1_Pooling/config.json"].write_text(json.dumps({"pooling_mode_lasttoken": True}))
    assert metadata_of(files, tmp_path / "y.gguf")["qwen3.pooling_type"] == 3


@pytest.mark.parametrize(
    ("table", "name", "new"),
    [
        (DECODER, "model.layers.11.mlp.gate_proj.weight", "blk.11.ffn_gate.weight"),
        (DECODER, "lm_head.weight", "output.weight"),
        (DECODER, "model.layers.0.self_attn.rotary_emb.inv_freq", ""),
        (DECODER, "model.layers.0.mlp.gate_proj.scale", None),
        (BERT, "bert.embeddings.LayerNorm.gamma", "token_embd_norm.weight"),
        (BERT, "encoder.layer.3.attention.output.LayerNorm.beta", "blk.3.attn_output_norm.bias"),
        (BERT, "bert.pooler.dense.weight", ""),
        (BERT, "cls.predictions.bias", ""),
        (BERT, "embeddings.position_ids", ""),
        (NOMIC, "encoder.layers.5.attn.Wqkv.weight", "blk.5.attn_qkv.weight"),
    ],
)
def test_names(table: dict[str, str], name: str, new: str | None) -> None:
    assert new_name(name, table) == new


def test_rows_that_are_paired_stand_beside_each_other() -> None:
    rows = np.arange(12)[:, None]
    assert permute(rows, 2)[:, 0].tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]


@given(arrays.arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False)))
def test_bf16_is_rounded_to_the_nearest(values: np.ndarray) -> None:
    back = as_float32(from_float32(values, "BF16"), "BF16")
    finite = np.isfinite(back)
    assert np.all(np.abs(back[finite] - values[finite]) <= np.abs(values[finite]) / 256 + 1e-38)
    assert np.array_equal(from_float32(back, "BF16"), from_float32(values, "BF16"))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("s") / "x.safetensors"
    path.write_bytes(raw)
    try:
        tensors = read_index(path, "x")
    except BadModelFile:
        return
    for tensor in tensors.values():
        if tensor.kind in ("F32", "F16", "BF16"):
            assert load(tensor).shape == tensor.shape
