"""The types to which llama.cpp quantises a model: names, numbers, and what a model's kind asks for beside."""

from __future__ import annotations

from typing import NamedTuple

from server.errors import InvalidRequest, StoreError
from server.gguf.kinds import FILE_TYPES, TENSOR_KINDS

UNQUANTIZED = ("F32", "F16", "BF16")
"""Types that quantising starts from; a quantised model would lose twice."""

_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}

# From the largest to the smallest. All that llama_ftype_get_default_type of llama-quant.cpp knows, less those
# below, in its order of size.
TYPES = (
    *("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S"),
    *("Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "MXFP4_MOE", "Q3_K_L", "Q3_K_M", "Q3_K_S", "IQ3_M", "IQ3_S"),
    *("Q2_K", "Q2_0", "TQ2_0", "TQ1_0", "Q1_0"),
)

# Types whose tensors tensor_requires_imatrix of llama-quant.cpp names.
_WITH_IMATRIX = frozenset({"Q2_K_S", "IQ3_XS", "IQ3_XXS", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS"})
_WITH_IMATRIX |= {"IQ1_M", "IQ1_S"}

# Tensors that suffer most in models of an architecture, and the type that they keep in files of K-quants.
_SENSITIVE: dict[str, tuple[tuple[str, str], ...]] = {
    "deepseek2": tuple(
        (f"{part}\\.weight", "Q8_0")
        for part in ("attn_k_b", "attn_q_a", "attn_q_b", "attn_v_b", "attn_kv_a_mqa")
    ),
    "gemma3n": (("per_layer_token_embd", "F16"),),
    "glm4": (("token_embd", "F16"), ("^output\\.weight", "F16")),
    "qwen35": (("nextn\\.eh_proj", "Q8_0"),),
    "qwen35moe": (("nextn\\.eh_proj", "Q8_0"),),
}


class QuantizeType(NamedTuple):
    """A type to quantise to: llama.cpp's name and number (llama_ftype) of it."""

    name: str
    number: int


def quantize_type(text: str) -> QuantizeType:
    """The type that a name means, upper and lower case alike.

    Raises: StoreError for a name that is none, InvalidRequest for one that needs more than the weights.
    """
    name = _ALIASES.get(text.upper(), text.upper())
    if name in _WITH_IMATRIX:
        raise InvalidRequest(
            f"quantizing to {name} needs an importance matrix, which create does not take",
            hint="Use llama.cpp's llama-imatrix and llama-quantize and create from the result, "
            "or choose a type of three bits or more, such as Q3_K_M.",
        )
    if name not in TYPES:
        raise StoreError(f"unsupported quantization type {name} - supported types are {', '.join(TYPES)}")
    return QuantizeType(name, next(number for number, known in FILE_TYPES.items() if known == name))


def overrides(architecture: str, target: QuantizeType) -> list[tuple[str, int]]:
    """Patterns of tensor names and the ggml type that those tensors get instead."""
    if "_K" not in target.name:
        return []
    numbers = {kind.name: number for number, kind in TENSOR_KINDS.items()}
    return [(pattern, numbers[kind]) for pattern, kind in _SENSITIVE.get(architecture, ())]
