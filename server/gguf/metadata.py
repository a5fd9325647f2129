"""Typed view of a GGUF header: what a model is, and what its context costs."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

from server.errors import BadModelFile
from server.gguf.kinds import FILE_TYPES, KV_CACHE_BYTES, UNKNOWN_FILE_TYPE
from server.gguf.reader import GgufArray, GgufHeader
from server.types.models import Capability

# Tokenizers that put a begin token before a text unless the file says otherwise (llama-vocab.cpp).
_BOS_TOKENIZERS = frozenset({"llama", "bert", "gemma4"})
_BOS_PRETOKENIZERS = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "tekken", "chameleon"}
)
RANK_POOLING = 4
"""llama_pooling_type of models that score pairs of texts."""

_GLOBAL_PREFIXES = ("general.", "tokenizer.")


def human_number(count: int) -> str:
    """A count as people write it: 7B, 7.2B, 5.77M, 137M, 12K, 68."""
    for unit, size, n_decimals in (("B", 10**9, 1), ("M", 10**6, 2)):
        if count >= size:
            return f"{count // size}{unit}" if count % size == 0 else f"{count / size:.{n_decimals}f}{unit}"
    return f"{count / 1000:.0f}K" if count >= 1000 else str(count)


class GgufMetadata:
    """Metadata by meaning.

    A key without the prefix "general." or "tokenizer." is looked up below the architecture's name, so that
    `integer("block_count")` reads "llama.block_count". A value of a wrong type counts as absent.
    """

    def __init__(self, header: GgufHeader) -> None:
        self.header = header

    def get(self, key: str) -> Any:
        """A value as stored, None when there is none."""
        values = self.header.metadata
        if key in values or key.startswith(_GLOBAL_PREFIXES):
            return values.get(key)
        return values.get(f"{self.architecture}.{key}")

    def integer(self, key: str, default: int = 0) -> int:
        """A whole number; of an array of numbers, the largest."""
        value = self.get(key)
        if isinstance(value, GgufArray) and value.values:
            value = max(value.values)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def text(self, key: str) -> str:
        """A string, "" when there is none."""
        value = self.get(key)
        return value if isinstance(value, str) else ""

    def per_layer(self, key: str, default: int) -> list[int]:
        """A number for each of `block_count` layers, stored as one number or as an array."""
        value = self.get(key)
        if isinstance(value, GgufArray) and value.values is not None:
            numbers = [number if isinstance(number, int) else default for number in value.values]
            return [numbers[i] if i < len(numbers) else default for i in range(self.block_count)]
        return [self.integer(key, default)] * self.block_count

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, "unknown" when the file does not say."""
        value = self.header.metadata.get("general.architecture")
        return value if isinstance(value, str) else "unknown"

    @property
    def kind(self) -> str:
        """`general.type`: "model", "adapter", "projector", "mmproj"; "" when the file does not say."""
        return self.text("general.type")

    @property
    def context_length(self) -> int:
        """Tokens that the model was trained for."""
        return self.integer("context_length")

    @property
    def embedding_length(self) -> int:
        return self.integer("embedding_length")

    @property
    def block_count(self) -> int:
        """Layers; bounded, for lists of this length are made from it."""
        return min(max(self.integer("block_count"), 0), 1 << 16)

    @property
    def head_count(self) -> int:
        """Attention heads of the layer that has most."""
        return self.integer("attention.head_count")

    @property
    def head_count_kv(self) -> int:
        """Key and value heads of the layer that has most."""
        return self.integer("attention.head_count_kv", self.head_count)

    @property
    def parameter_count(self) -> int:
        """Elements of all tensors."""
        return self.header.n_parameters

    @property
    def parameter_size(self) -> str:
        """`parameter_count` for people, "5.77M"."""
        return human_number(self.parameter_count)

    @property
    def file_type(self) -> str:
        """Quantisation of most tensors, "Q4_K_M"; "unknown" when the file does not say."""
        return FILE_TYPES.get(self.integer("general.file_type", -1), UNKNOWN_FILE_TYPE)

    @property
    def weights_bytes(self) -> int:
        """Size of all tensors."""
        return self.header.data_bytes

    @property
    def chat_template(self) -> str:
        """Jinja template, "" when there is none."""
        return self.text("tokenizer.chat_template")

    @property
    def pooling_type(self) -> int | None:
        """How token vectors become one: 0 none, 1 mean, 2 first, 3 last, 4 rank; None: not for embeddings."""
        value = self.get("pooling_type")
        return value if isinstance(value, int) else None

    @property
    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        tokens = self.get("tokenizer.ggml.tokens")
        return tokens.count if isinstance(tokens, GgufArray) else self.integer("vocab_size")

    @property
    def adds_bos(self) -> bool:
        """Whether the tokenizer puts a begin token before a text; else llama.cpp's own rule."""
        value = self.get("tokenizer.ggml.add_bos_token")
        if isinstance(value, bool):
            return value
        if self.text("tokenizer.ggml.model") in _BOS_TOKENIZERS:
            return True
        return self.text("tokenizer.ggml.pre") in _BOS_PRETOKENIZERS

    @cached_property
    def bos_text(self) -> str:
        """Text of the begin token, "" when there is none."""
        return self._token("tokenizer.ggml.bos_token_id")

    @cached_property
    def eos_text(self) -> str:
        """Text of the end token, "" when there is none."""
        return self._token("tokenizer.ggml.eos_token_id")

    @property
    def is_projector(self) -> bool:
        """Whether this is the picture or sound part of a model in a file of its own."""
        if self.kind in ("projector", "mmproj"):
            return True
        if self.integer("block_count"):
            return False
        if self.integer("vision.block_count") > 0:
            return True
        flags = (self.get("has_vision_encoder"), self.get("has_audio_encoder"))
        return self.architecture == "clip" and True in flags

    @property
    def has_audio_encoder(self) -> bool:
        """Whether a projector hears; "gemma3nv" names an encoder that llama.cpp leaves out."""
        if self.text("vision.projector_type") == "gemma3nv":
            return False
        return any(
            value is True and (key == "has_audio_encoder" or key.endswith(".has_audio_encoder"))
            for key, value in self.header.metadata.items()
        )

    def capabilities(self) -> tuple[Capability, ...]:
        """What the weights can do, in the order in which Ollama lists it; templates add more."""
        if self.pooling_type == RANK_POOLING:
            found: list[Capability] = ["rerank"]
        else:
            found = ["completion" if self.get("pooling_type") is None else "embedding"]
        if self.get("vision.block_count") is not None:
            found.append("vision")
        if self.get("audio.block_count") is not None:
            found.append("audio")
        return tuple(found)

    def kv_bytes_per_token(self, kv_cache_type: str) -> int:
        """Memory that one token of context takes in the caches of all layers, rounded up.

        Layers without attention (0 heads, or off the `full_attention_interval`) take none per token. Layers
        with a sliding window are counted in full, so that the result is an upper bound there.

        Args:
            kv_cache_type: "f16", "q8_0", "q4_0" or another that llama.cpp knows, for keys and values alike.

        Raises: KeyError for an unknown type.
        """
        heads = self.per_layer("attention.head_count_kv", self.head_count)
        head_length = self.embedding_length // self.head_count if self.head_count else 0
        key_length = self.integer("attention.key_length", head_length)
        value_length = self.integer("attention.value_length", head_length)
        if self.get("attention.key_length_mla") is not None:
            # Multi-head latent attention: values are a view into the cached keys.
            value_length = 0
        interval = self.integer("full_attention_interval")
        n_heads = sum(n for i, n in enumerate(heads) if interval <= 0 or (i + 1) % interval == 0)
        return math.ceil(n_heads * (key_length + value_length) * KV_CACHE_BYTES[kv_cache_type])

    def model_info(self, *, arrays: bool) -> dict[str, Any]:
        """All metadata by key, sorted, with whole floats as integers, as JSON of Ollama's has them.

        Args:
            arrays: with the elements of arrays; otherwise None stands for every array that is not empty.
        """
        info: dict[str, Any] = {}
        for key, value in self.header.metadata.items():
            if not isinstance(value, GgufArray):
                info[key] = _plain(value)
            elif arrays or value.count == 0:
                info[key] = [_plain(element) for element in self.header.read_array(key)]
            else:
                info[key] = None
        info["general.parameter_count"] = self.parameter_count
        return dict(sorted(info.items()))

    def _token(self, id_key: str) -> str:
        token_id = self.integer(id_key, -1)
        if not 0 <= token_id < self.n_vocab:
            return ""
        try:
            tokens = self.header.read_array("tokenizer.ggml.tokens", start=token_id, limit=1)
        except (KeyError, BadModelFile):
            return ""
        return tokens[0] if tokens and isinstance(tokens[0], str) else ""


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)
    return value
