"""What a model's context costs, layer by layer, read from the header."""

from __future__ import annotations

import math
from typing import Final

import msgspec

from server.gguf.kinds import KV_CACHE_BYTES
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import GgufArray

_WINDOW_PERIODS: Final = {
    "afmoe": (4, False),
    "cohere2": (4, False),
    "cohere2moe": (4, True),
    "exaone4": (4, False),
    "exaone-moe": (4, False),
    "gemma2": (2, False),
    "gemma3": (6, False),
    "gemma3n": (5, False),
    "gpt-oss": (2, False),
    "laguna": (4, True),
    "llama4": (4, False),
    "olmo2": (4, False),
    "plamo3": (8, False),
    "smallthinker": (4, True),
}
"""Of so many layers one sees everything: the last, or (True) the first. As load_swa_pattern of llama.cpp's
models/*.cpp has it where the file does not tell; other architectures count as without windows."""

_DEFAULT_WINDOWS: Final = {"gemma2": 4096, "exaone4": 4096, "exaone-moe": 128, "llama4": 8192}
"""Tokens of a window where the file does not tell, as llama.cpp's models/*.cpp has them."""

_RECURRENT: Final = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
_ALL_LAYERS_BOTH: Final = frozenset({"falcon-h1"})
_TOKEN_SHIFTS: Final = {"rwkv6qwen2": 1, "arwkv7": 1}
_FULL_ATTENTION_INTERVALS: Final = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""Of so many layers the last sees everything and the others are recurrent, where the file does not tell."""

_STATE_ELEMENT_BYTES: Final = 4
"""llama.cpp keeps recurrent states in float32."""

_NO_KV: Final = frozenset(
    {
        "bert",
        "nomic-bert",
        "nomic-bert-moe",
        "jina-bert-v2",
        "jina-bert-v3",
        "neo-bert",
        "modern-bert",
        "eurobert",
    }
)
"""Encoders, which keep nothing between batches (create_memory in llama-model.cpp)."""

_NO_COPIES: Final = frozenset({"deepseek4"})
"""Architectures whose memory is neither divided among sequences nor shared by them."""


class MemoryShape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes that a context's memory follows from.

    Attributes:
        full_bytes_per_token: KV cache of the layers that see everything.
        window_bytes_per_token: KV cache of the layers with a sliding window.
        n_window: tokens in that window, 0 without one.
        state_bytes: recurrent state of one sequence.
        n_ff: width of the feed-forward layers.
        can_share: sequences can share one pool of cells.
    """

    full_bytes_per_token: int = 0
    window_bytes_per_token: int = 0
    n_window: int = 0
    state_bytes: int = 0
    weights_bytes: int = 0
    n_vocab: int = 0
    n_embd: int = 0
    n_ff: int = 0
    n_head: int = 0
    can_share: bool = True

    @property
    def kv_bytes_per_token(self) -> int:
        """KV cache of all layers, as if none had a window."""
        return self.full_bytes_per_token + self.window_bytes_per_token

    @property
    def is_recurrent(self) -> bool:
        """Whether a sequence has a state that cannot be cut."""
        return self.state_bytes > 0


def memory_shape(metadata: GgufMetadata, kv_cache_type: str) -> MemoryShape:
    """The sizes of a model. `kv_cache_type`: "f16", "q8_0", "q4_0", for keys and values alike.

    Raises: KeyError for an unknown type.
    """
    windows = _window_layers(metadata)
    kv_bytes = _kv_bytes(metadata, KV_CACHE_BYTES[kv_cache_type], windows)
    n_window_layers = sum(windows)
    return MemoryShape(
        full_bytes_per_token=math.ceil(sum(n for n, w in zip(kv_bytes, windows, strict=True) if not w)),
        window_bytes_per_token=math.ceil(sum(n for n, w in zip(kv_bytes, windows, strict=True) if w)),
        n_window=_n_window(metadata) if n_window_layers else 0,
        state_bytes=_state_bytes(metadata) * _n_recurrent_layers(metadata),
        weights_bytes=metadata.weights_bytes,
        n_vocab=metadata.n_vocab,
        n_embd=metadata.embedding_length,
        n_ff=_feed_forward_length(metadata),
        n_head=metadata.head_count,
        can_share=metadata.architecture not in _NO_COPIES,
    )


def _kv_bytes(metadata: GgufMetadata, element_bytes: float, windows: list[bool]) -> list[float]:
    """Bytes per token of each layer."""
    heads = metadata.per_layer("attention.head_count_kv", metadata.head_count)
    head_length = metadata.embedding_length // metadata.head_count if metadata.head_count else 0
    key = metadata.integer("attention.key_length", head_length)
    value = metadata.integer("attention.value_length", head_length)
    window_key = metadata.integer("attention.key_length_swa", key)
    window_value = metadata.integer("attention.value_length_swa", value)
    if metadata.get("attention.key_length_mla") is not None:
        value = 0  # multi-head latent attention: values are a view into the cached keys
    if metadata.architecture in _NO_KV:
        return [0.0] * metadata.block_count
    interval = _full_attention_interval(metadata)
    sizes: list[float] = []
    for layer, (n_heads, has_window) in enumerate(zip(heads, windows, strict=True)):
        is_attention = interval <= 0 or (layer + 1) % interval == 0
        length = window_key + window_value if has_window else key + value
        sizes.append(n_heads * length * element_bytes if is_attention else 0)
    return sizes


def _full_attention_interval(metadata: GgufMetadata) -> int:
    default = _FULL_ATTENTION_INTERVALS.get(metadata.architecture, 0)
    return metadata.integer("full_attention_interval", default)


def _n_window(metadata: GgufMetadata) -> int:
    return metadata.integer("attention.sliding_window", _DEFAULT_WINDOWS.get(metadata.architecture, 0))


def _window_layers(metadata: GgufMetadata) -> list[bool]:
    """Which layers have a sliding window."""
    n_layers = metadata.block_count
    pattern = metadata.get("attention.sliding_window_pattern")
    if _n_window(metadata) <= 0 or (metadata.architecture not in _WINDOW_PERIODS and pattern is None):
        return [False] * n_layers
    if isinstance(pattern, GgufArray) and pattern.values is not None:
        given = [bool(value) for value in pattern.values[:n_layers]]
        return given + [False] * (n_layers - len(given))
    period, dense_first = _WINDOW_PERIODS.get(metadata.architecture, (0, False))
    period = metadata.integer("attention.sliding_window_pattern", period)
    if period <= 0:
        return [True] * n_layers
    dense = 0 if dense_first else period - 1
    return [layer % period != dense for layer in range(n_layers)]


def _n_recurrent_layers(metadata: GgufMetadata) -> int:
    if metadata.architecture in _RECURRENT or metadata.architecture in _ALL_LAYERS_BOTH:
        return metadata.block_count
    interval = _full_attention_interval(metadata)
    if interval > 0:
        return sum((layer + 1) % interval != 0 for layer in range(metadata.block_count))
    heads = metadata.per_layer("attention.head_count_kv", metadata.head_count)
    widths = metadata.per_layer("feed_forward_length", 0)
    if metadata.architecture.startswith("nemotron_h"):
        return sum(n == 0 and width == 0 for n, width in zip(heads, widths, strict=True))
    return sum(n == 0 for n in heads)


def _state_bytes(metadata: GgufMetadata) -> int:
    """State of one recurrent layer, by llama_hparams::n_embd_r and n_embd_s."""
    n_embd, integer = metadata.embedding_length, metadata.integer
    head = integer("wkv.head_size")
    if head:
        n = integer("token_shift_count", _TOKEN_SHIFTS.get(metadata.architecture, 2)) * n_embd + n_embd * head
    elif integer("shortconv.l_cache"):
        n = n_embd * (integer("shortconv.l_cache") - 1)
    elif integer("kda.head_dim"):
        head, n_head = integer("kda.head_dim"), metadata.head_count
        n = (3 * (integer("ssm.conv_kernel", 4) - 1) + head) * n_head * head
    else:
        inner, state = integer("ssm.inner_size"), integer("ssm.state_size")
        n_conv = max(integer("ssm.conv_kernel") - 1, 0)
        n = n_conv * (inner + 2 * integer("ssm.group_count") * state) + state * inner
    return n * _STATE_ELEMENT_BYTES


def _feed_forward_length(metadata: GgufMetadata) -> int:
    """Width of the widest feed-forward layer; of experts, of those that one token uses together."""
    experts = metadata.integer("expert_feed_forward_length") * max(metadata.integer("expert_used_count"), 1)
    return max(metadata.integer("feed_forward_length"), experts)
