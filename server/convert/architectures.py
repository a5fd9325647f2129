"""What each architecture keeps in its metadata, and how its tensors differ from llama.cpp's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from server.convert.config import Config
from server.convert.names import BERT, DECODER, NOMIC, SANDWICH
from server.errors import BadModelFile, InvalidRequest
from server.gguf.writer import Value

Metadata = dict[str, Value]
_ROPE_KINDS = {"linear": "linear", "yarn": "yarn", "su": "longrope", "longrope": "longrope"}

# What a config.json may leave out, as that of Gemma 3 4B does: Gemma3TextConfig of the package transformers.
_GEMMA3_DEFAULTS = {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
}


class Architecture(NamedTuple):
    """An architecture.

    Attributes:
        name: llama.cpp's.
        tensors: names of tensors, Hugging Face's to llama.cpp's.
        metadata: keys behind the architecture's name.
        shifted: endings of names (Hugging Face's) whose weights are stored less 1.
        permuted: whether rows of queries and keys go in the order of llama.cpp's rotary embedding.
        skipped: names of tensors that llama.cpp computes or shares.
        left_out: beginnings of names of tensors of the parts that are not converted.
        extra: small tensors that come from the config alone.
    """

    name: str
    tensors: Mapping[str, str]
    metadata: Callable[[Config], Metadata]
    shifted: str = ""
    permuted: bool = False
    skipped: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    extra: Callable[[Config], dict[str, npt.NDArray[np.float32]]] = lambda config: {}


def architecture_of(config: Config) -> Architecture:
    """The architecture of a model. Raises: InvalidRequest for one that is not known here."""
    found = ARCHITECTURES.get(config.architecture)
    if found is None:
        raise InvalidRequest(
            f'unsupported architecture "{config.architecture}"',
            hint=f"Known are {', '.join(sorted(ARCHITECTURES))}. For another, convert the model with "
            "llama.cpp's convert_hf_to_gguf.py and create from the result.",
        )
    return found


def _decoder(config: Config) -> Metadata:
    """What all decoders have."""
    n_head = config.integer("num_attention_heads")
    found = {
        "block_count": Value("u32", config.integer("num_hidden_layers")),
        "context_length": Value("u32", config.integer("max_position_embeddings", default=2048)),
        "embedding_length": Value("u32", config.integer("hidden_size")),
        "feed_forward_length": Value("u32", config.integer("intermediate_size")),
        "attention.head_count": Value("u32", n_head),
        "attention.head_count_kv": Value("u32", config.integer("num_key_value_heads", default=n_head)),
        "attention.layer_norm_rms_epsilon": Value("f32", config.number("rms_norm_eps", default=1e-6)),
        "rope.freq_base": Value("f32", config.rope().number("rope_theta", default=10000.0)),
    }
    if config.values.get("head_dim"):
        length = config.integer("head_dim")
        found |= {
            "attention.key_length": Value("u32", length),
            "attention.value_length": Value("u32", length),
        }
    return found | _rope_scaling(config.rope())


def _rope_scaling(rope: Config) -> Metadata:
    kind = _ROPE_KINDS.get(str(rope.values.get("rope_type", "")))
    if kind is None:
        return {}
    found = {"rope.scaling.type": Value("str", kind)}
    if kind == "longrope":
        return found
    found["rope.scaling.factor"] = Value("f32", rope.number("factor"))
    if kind == "yarn":
        original = rope.integer("original_max_position_embeddings")
        found["rope.scaling.original_context_length"] = Value("u32", original)
    return found


def _llama(config: Config) -> Metadata:
    length = head_length(config)
    return _decoder(config) | {
        "vocab_size": Value("u32", config.integer("vocab_size")),
        "rope.dimension_count": Value("u32", length),
    }


def head_length(config: Config) -> int:
    """Elements of a query for one head."""
    if config.values.get("head_dim"):
        return config.integer("head_dim")
    return config.integer("hidden_size") // max(config.integer("num_attention_heads"), 1)


def _llama3_factors(config: Config) -> dict[str, npt.NDArray[np.float32]]:
    """Divisors of the rotary frequencies in Llama 3.1 and later, from the formula of its reference code."""
    rope = config.rope()
    if rope.values.get("rope_type") != "llama3":
        return {}
    length = head_length(config)
    base = rope.number("rope_theta", default=10000.0)
    factor, low = rope.number("factor", default=8.0), rope.number("low_freq_factor", default=1.0)
    high = rope.number("high_freq_factor", default=4.0)
    original = rope.number("original_max_position_embeddings", default=8192.0)
    if high == low or length < 2:
        raise BadModelFile("config.json has rope parameters that no frequency fits")
    factors = []
    for i in range(0, length, 2):
        wave = 2 * math.pi * base ** (i / length)
        if wave < original / high:
            factors.append(1.0)
        elif wave > original / low:
            factors.append(factor)
        else:
            smooth = (original / wave - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return {"rope_freqs.weight": np.array(factors, np.float32)}


def _gemma(config: Config) -> Metadata:
    found = _decoder(config)
    length = config.integer("head_dim", default=256)
    found |= {"attention.key_length": Value("u32", length), "attention.value_length": Value("u32", length)}
    return found


def _gemma2(config: Config) -> Metadata:
    found = _gemma(config)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        found[key] = Value("f32", config.number(key))
    return found | {"attention.sliding_window": Value("u32", config.integer("sliding_window"))}


def _gemma3(config: Config) -> Metadata:
    config = Config({**_GEMMA3_DEFAULTS, **config.values})
    found = _gemma(config)
    found["context_length"] = Value("u32", config.integer("max_position_embeddings", default=131072))
    found["rope.freq_base"] = Value("f32", config.rope().number("rope_theta", default=1_000_000.0))
    if config.values.get("final_logit_softcapping"):
        found["final_logit_softcapping"] = Value("f32", config.number("final_logit_softcapping"))
    if config.values.get("sliding_window_pattern") != 1:
        found["attention.sliding_window"] = Value("u32", config.integer("sliding_window"))
    return found


def _phi3(config: Config) -> Metadata:
    rope = config.rope()
    share = rope.number("partial_rotary_factor", default=1.0)
    n_rope = int(share * config.integer("hidden_size")) // config.integer("num_attention_heads")
    context = config.integer("max_position_embeddings")
    original = rope.integer("original_max_position_embeddings", default=context)
    found = _decoder(config) | {
        "rope.dimension_count": Value("u32", n_rope),
        "rope.scaling.original_context_length": Value("u32", original),
        # 0 tells Phi-4 from the others.
        "attention.sliding_window": Value("u32", config.integer("sliding_window", default=0)),
    }
    if rope.values.get("long_factor"):
        scale = context / max(original, 2)
        factor = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
        found["rope.scaling.attn_factor"] = Value("f32", factor)
    return found


def _phi3_factors(config: Config) -> dict[str, npt.NDArray[np.float32]]:
    rope = config.rope()
    found = {}
    for name in ("long", "short"):
        factors = rope.values.get(f"{name}_factor")
        if isinstance(factors, list):
            found[f"rope_factors_{name}.weight"] = np.array(factors, np.float32)
    return found


def _bert(config: Config) -> Metadata:
    return {
        "block_count": Value("u32", config.integer("num_hidden_layers", "n_layer")),
        "context_length": Value("u32", config.integer("max_position_embeddings", "n_positions")),
        "embedding_length": Value("u32", config.integer("hidden_size", "n_embd")),
        "feed_forward_length": Value("u32", config.integer("intermediate_size", "n_inner")),
        "attention.head_count": Value("u32", config.integer("num_attention_heads", "n_head")),
        "attention.layer_norm_epsilon": Value(
            "f32", config.number("layer_norm_eps", "layer_norm_epsilon", default=1e-12)
        ),
        "attention.causal": Value("bool", False),
    }


def _nomic(config: Config) -> Metadata:
    if config.values.get("moe_every_n_layers"):
        raise InvalidRequest("NomicBertModel with experts cannot be converted")
    found = _bert(config)
    if config.integer("n_positions") == 8192:
        # What v1 and v1.5 were trained for; beyond, their embedding is extrapolated.
        found["context_length"] = Value("u32", config.integer("max_trained_positions", default=2048))
    return found | {"rope.freq_base": Value("f32", config.rope().number("rope_theta", default=10000.0))}


_VISION_PARTS = ("vision_tower", "multi_modal_projector")

ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": Architecture("llama", DECODER, _llama, permuted=True, extra=_llama3_factors),
    "Qwen2ForCausalLM": Architecture("qwen2", DECODER, _decoder),
    "Qwen3ForCausalLM": Architecture("qwen3", DECODER, _decoder),
    "GemmaForCausalLM": Architecture(
        "gemma", DECODER, _gemma, shifted="norm.weight", skipped=("lm_head.weight",)
    ),
    "Gemma2ForCausalLM": Architecture(
        "gemma2", SANDWICH, _gemma2, shifted="norm.weight", skipped=("lm_head.weight",)
    ),
    "Gemma3ForCausalLM": Architecture(
        "gemma3", SANDWICH, _gemma3, shifted="norm.weight", skipped=("lm_head.weight",)
    ),
    "Gemma3ForConditionalGeneration": Architecture(
        "gemma3",
        SANDWICH,
        _gemma3,
        shifted="norm.weight",
        skipped=("lm_head.weight", "language_model.lm_head.weight"),
        left_out=tuple(f"{at}{part}." for at in ("", "model.") for part in _VISION_PARTS),
    ),
    "Phi3ForCausalLM": Architecture("phi3", DECODER, _phi3, extra=_phi3_factors),
    "BertModel": Architecture("bert", BERT, _bert),
    "NomicBertModel": Architecture("nomic-bert", NOMIC, _nomic),
}
ARCHITECTURES["MistralForCausalLM"] = ARCHITECTURES["LlamaForCausalLM"]
