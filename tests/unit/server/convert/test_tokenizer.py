"""Tokenizers of each kind as GGUF's metadata."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from server.convert.config import Files
from server.convert.sentencepiece import read_pieces
from server.convert.tokenizer import pre_tokenizer, tokenizer_metadata
from server.errors import BadModelFile, InvalidRequest
from tests.support.hugging_face import byte_level_tokenizer

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


def files_of(folder: Path, **contents: Any) -> Files:
    """`tokenizer_json={...}` becomes tokenizer.json."""
    paths = {}
    for name, content in contents.items():
        file = folder / name.replace("_json", ".json").replace("_model", ".model").replace("_jinja", ".jinja")
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        paths[file.name] = file
    return Files(paths)


def values(files: Files, n_vocab: int) -> dict[str, Any]:
    found = tokenizer_metadata(files, n_vocab)
    return {key.removeprefix("tokenizer.ggml."): value.value for key, value in found.items()}


def test_byte_level(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer["added_tokens"].append({"id": 258, "content": "<tool>", "special": False})
    config = {
        "bos_token": None,
        "eos_token": {"content": "<|im_end|>"},
        "pad_token": "<|im_start|>",
        "add_bos_token": False,
        "chat_template": [{"name": "other", "template": "no"}, {"name": "default", "template": "yes"}],
    }
    found = values(files_of(tmp_path, tokenizer_json=tokenizer, tokenizer_config_json=config), 300)
    assert (found["model"], found["pre"]) == ("gpt2", "gpt-2")
    assert found["tokens"][256:260] == ["<|im_start|>", "<|im_end|>", "<tool>", "[PAD259]"]
    assert found["token_type"][255:260] == [1, 3, 3, 4, 5]
    assert found["merges"] == ["h e"]
    assert (found["eos_token_id"], found["padding_token_id"]) == (257, 256)
    assert "bos_token_id" not in found
    assert found["add_bos_token"] is False
    assert found["tokenizer.chat_template"] == "yes"


def test_ids_come_from_the_config_where_the_tokenizer_has_no_names(tmp_path: Path) -> None:
    config = {"bos_token_id": 256, "eos_token_id": [257, 256]}
    found = values(files_of(tmp_path, tokenizer_json=byte_level_tokenizer(), config_json=config), 258)
    assert (found["bos_token_id"], found["eos_token_id"]) == (256, 257)


@pytest.mark.parametrize(
    ("pattern", "ignore_merges", "name"),
    [
        (None, False, "gpt-2"),
        (LLAMA3, True, "llama-bpe"),
        (LLAMA3, False, "dbrx"),
        (LLAMA3.replace("{1,3}", ""), False, "qwen2"),
    ],
)
def test_how_texts_are_cut(pattern: str | None, ignore_merges: bool, name: str) -> None:
    tokenizer = byte_level_tokenizer(pattern)
    tokenizer["model"]["ignore_merges"] = ignore_merges
    assert pre_tokenizer(tokenizer) == name


def test_an_unknown_way_to_cut_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cuts texts in a way that is not known") as caught:
        pre_tokenizer(byte_level_tokenizer(r"\w+"))
    assert "convert_hf_to_gguf.py" in caught.value.hint


def field(number: int, wire: int, payload: bytes) -> bytes:
    return bytes([number << 3 | wire]) + payload


def piece(text: str, score: float, kind: int) -> bytes:
    raw = text.encode()
    body = (
        field(1, 2, bytes([len(raw)]) + raw)
        + field(2, 5, struct.pack("<f", score))
        + field(3, 0, bytes([kind]))
    )
    return field(1, 2, bytes([len(body)]) + body)


PIECES = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("<0x41>", 0, 6) + piece("▁he", -1.5, 1)


def test_sentencepiece(tmp_path: Path) -> None:
    config = {
        "bos_token": "<s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "added_tokens_decoder": {
            "4": {"content": "<|end|>", "special": False},
            "5": {"content": "▁▁", "special": False},
        },
    }
    trailer = field(2, 2, b"\x02\x08\x01")  # a trainer's settings, which are not looked at
    files = files_of(tmp_path, tokenizer_model=PIECES + trailer, tokenizer_config_json=config)
    found = values(files, 7)
    assert (found["model"], found["pre"]) == ("llama", "default")
    assert found["tokens"] == ["<unk>", "<s>", "<0x41>", "▁he", "<|end|>", "  ", "[PAD6]"]
    assert found["token_type"] == [2, 3, 6, 1, 3, 4, 5]
    assert found["scores"][3] == -1.5
    assert (found["bos_token_id"], found["unknown_token_id"]) == (1, 0)
    assert found["add_bos_token"] is True


@pytest.mark.parametrize("raw", [b"", b"\x0a\xff", b"\x0a\x05ab", b"version https://git-lfs", b"\x0f"])
def test_what_is_no_sentencepiece_model(raw: bytes) -> None:
    with pytest.raises(BadModelFile, match="no SentencePiece model"):
        read_pieces(raw)


def test_byte_fallback_without_scores_of_its_own(tmp_path: Path) -> None:
    tokenizer = {
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<0x0A>": 1, "▁a": 2, "b": 3},
            "merges": ["▁ a"],
        },
        "added_tokens": [{"id": 0, "content": "<unk>", "special": True}],
    }
    found = values(files_of(tmp_path, tokenizer_json=tokenizer), 4)
    assert found["model"] == "llama"
    assert found["token_type"] == [2, 6, 1, 1]
    assert found["scores"][2] > found["scores"][3]


def test_word_piece(tmp_path: Path) -> None:
    tokenizer = {
        "model": {"type": "WordPiece", "vocab": {"[CLS]": 0, "[SEP]": 1, "play": 2, "##ing": 3}},
        "added_tokens": [{"id": i, "content": t, "special": True} for i, t in enumerate(["[CLS]", "[SEP]"])],
        "normalizer": {"type": "BertNormalizer", "lowercase": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {}}, {"Sequence": {}}, {"SpecialToken": {}}],
        },
    }
    config = {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    found = values(files_of(tmp_path, tokenizer_json=tokenizer, tokenizer_config_json=config), 4)
    assert found["tokens"] == ["[CLS]", "[SEP]", "▁play", "ing"]
    assert (found["bos_token_id"], found["eos_token_id"], found["seperator_token_id"]) == (0, 1, 1)
    assert (found["add_bos_token"], found["add_eos_token"]) == (True, True)
    assert found["normalizer.lowercase"] is True


def test_no_tokenizer_and_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(BadModelFile, match=r"no tokenizer\.json"):
        values(Files({}), 4)
    with pytest.raises(InvalidRequest, match="kind Unigram"):
        values(files_of(tmp_path, tokenizer_json={"model": {"type": "Unigram"}}), 4)
