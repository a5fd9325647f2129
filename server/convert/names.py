"""Names of tensors: from Hugging Face's to llama.cpp's."""

from __future__ import annotations

import re

# Behind `layers.N.`; a name of llama.cpp behind `blk.N.`.
_DECODER_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
DECODER = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
DECODER |= {f"layers.#.{name}": f"blk.#.{new}" for name, new in _DECODER_LAYER.items()}

SANDWICH = DECODER | {
    "layers.#.post_attention_layernorm": "blk.#.post_attention_norm",
    "layers.#.pre_feedforward_layernorm": "blk.#.ffn_norm",
    "layers.#.post_feedforward_layernorm": "blk.#.post_ffw_norm",
}
"""Of models with a norm before and behind each part."""

_BERT_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
BERT = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
BERT |= {f"encoder.layer.#.{name}": f"blk.#.{new}" for name, new in _BERT_LAYER.items()}

_NOMIC_LAYER = {
    "attn.Wqkv": "attn_qkv",
    "attn.out_proj": "attn_output",
    "norm1": "attn_output_norm",
    "mlp.fc11": "ffn_up",
    "mlp.fc12": "ffn_gate",
    "mlp.fc2": "ffn_down",
    "norm2": "layer_output_norm",
}
NOMIC = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.token_type_embeddings": "token_types",
    "emb_ln": "token_embd_norm",
}
NOMIC |= {f"encoder.layers.#.{name}": f"blk.#.{new}" for name, new in _NOMIC_LAYER.items()}

# Of no use to llama.cpp: buffers that it computes, and heads of other tasks.
_UNUSED = re.compile(r".*(rotary_emb\.inv_freq|position_ids|masked_bias)$|(pooler|cls|classifier)\..*")
_PREFIXES = ("model.language_model.", "language_model.", "model.", "bert.")
_NUMBER = re.compile(r"\.(\d+)\.")
_OLD_ENDINGS = {".gamma": ".weight", ".beta": ".bias"}


def new_name(name: str, table: dict[str, str]) -> str | None:
    """llama.cpp's name of a tensor; "" for one that is not used, None for one that nobody knows."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if _UNUSED.fullmatch(name):
        return ""
    for old, new in _OLD_ENDINGS.items():
        if name.endswith(old):
            name = name.removesuffix(old) + new
    stem, _, ending = name.rpartition(".")
    match = _NUMBER.search(stem)
    pattern = f"{stem[: match.start(1)]}#{stem[match.end(1) :]}" if match else stem
    found = table.get(pattern)
    if found is None or ending not in ("weight", "bias"):
        return None
    return f"{found.replace('#', match[1]) if match else found}.{ending}"
