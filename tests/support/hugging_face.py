"""Models in Hugging Face's layout, and what they compute, from numpy alone.

`Checkpoint` writes config.json, tokenizer files and safetensors; `greedy` runs the reference computation of
the decoders on those very weights, in Hugging Face's order of rows and with its norms.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.support.tiny_gguf import byte_tokens

Floats = npt.NDArray[np.float32]

N_LAYER, N_EMBD, N_HEAD, N_HEAD_KV, HEAD, N_FF = 2, 64, 4, 2, 16, 96
SPECIAL = ("<|im_start|>", "<|im_end|>")
N_VOCAB = 256 + len(SPECIAL) + 30


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, npt.NDArray[Any]]]) -> None:
    """A file of (dtype, array) by name; BF16 is an array of its 16 bits."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (kind, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """The upper halves; exact for what `rounded` returns."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def rounded(values: Floats, kind: str) -> Floats:
    """What is left of values in a type."""
    if kind == "BF16":
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return values.astype(np.float16).astype(np.float32)


def byte_level_tokenizer(pattern: str | None = None) -> dict[str, Any]:
    """tokenizer.json of a vocabulary of bytes with one merge."""
    tokens = [*byte_tokens(), *SPECIAL]
    steps: list[dict[str, Any]] = [
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": pattern is None}
    ]
    if pattern is not None:
        steps.insert(0, {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"})
    return {
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens[:256])},
            "merges": [["h", "e"]],
        },
        "added_tokens": [
            {"id": 256 + i, "content": token, "special": True, "normalized": False}
            for i, token in enumerate(SPECIAL)
        ],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": {"type": "ByteLevel"},
    }


class Checkpoint:
    """Random weights of an architecture.

    Attributes:
        config: config.json.
        tensors: weights by Hugging Face's names, exact in the type they are stored in.
    """

    def __init__(self, architecture: str, *, kind: str = "F16", seed: int = 0, **config: Any) -> None:
        self.kind = kind
        self.config: dict[str, Any] = {
            "architectures": [architecture],
            "_name_or_path": "somebody/Tiny",
            "hidden_size": N_EMBD,
            "intermediate_size": N_FF,
            "num_hidden_layers": N_LAYER,
            "num_attention_heads": N_HEAD,
            "num_key_value_heads": N_HEAD_KV,
            "max_position_embeddings": 256,
            "vocab_size": N_VOCAB,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "eos_token_id": 257,
            **config,
        }
        self._random = np.random.default_rng(seed)
        self.tensors: dict[str, Floats] = {}
        self._fill(architecture)

    def write(self, folder: Path, *, n_files: int = 1) -> dict[str, Path]:
        """Write it; the files by their names."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self._written_config()))
        (folder / "tokenizer.json").write_text(json.dumps(byte_level_tokenizer()))
        config = {"eos_token": {"content": "<|im_end|>"}, "chat_template": "{{ messages }}"}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        names = list(self.tensors)
        index = {}
        for number in range(n_files):
            file = (
                f"model-{number + 1:05}-of-{n_files:05}.safetensors" if n_files > 1 else "model.safetensors"
            )
            part = names[number::n_files]
            index |= dict.fromkeys(map(self._written_name, part), file)
            write_safetensors(folder / file, {self._written_name(name): self._stored(name) for name in part})
        if n_files > 1:
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.*"))}

    def _written_config(self) -> dict[str, Any]:
        return self.config

    def _written_name(self, name: str) -> str:
        return name

    def _stored(self, name: str) -> tuple[str, npt.NDArray[Any]]:
        values = self.tensors[name]
        if self.kind == "BF16":
            return "BF16", bfloat16(values)
        return self.kind, values.astype(np.float16) if self.kind == "F16" else values

    def _add(self, name: str, *shape: int, scale: float = 0.2, centre: float = 0.0) -> None:
        values = (self._random.standard_normal(shape) * scale + centre).astype(np.float32)
        self.tensors[name] = rounded(values, self.kind)

    def _fill(self, architecture: str) -> None:
        head = self.config.get("head_dim", N_EMBD // N_HEAD)
        is_gemma = architecture.startswith("Gemma")
        centre = 0.0 if is_gemma else 1.0
        self._add("model.embed_tokens.weight", N_VOCAB, N_EMBD, scale=0.1 if is_gemma else 1.0)
        for i in range(N_LAYER):
            at = f"model.layers.{i}"
            norms = ["input_layernorm", "post_attention_layernorm"]
            if architecture in ("Gemma2ForCausalLM", "Gemma3ForCausalLM"):
                norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
            for norm in norms:
                self._add(f"{at}.{norm}.weight", N_EMBD, centre=centre)
            sizes = {"q": N_HEAD * head, "k": N_HEAD_KV * head, "v": N_HEAD_KV * head}
            if architecture == "Phi3ForCausalLM":
                self._add(f"{at}.self_attn.qkv_proj.weight", sum(sizes.values()), N_EMBD)
                self._add(f"{at}.mlp.gate_up_proj.weight", 2 * N_FF, N_EMBD)
            else:
                for part, size in sizes.items():
                    self._add(f"{at}.self_attn.{part}_proj.weight", size, N_EMBD)
                    if architecture == "Qwen2ForCausalLM" or self.config.get("attention_bias"):
                        self._add(f"{at}.self_attn.{part}_proj.bias", size)
                for part in ("gate", "up"):
                    self._add(f"{at}.mlp.{part}_proj.weight", N_FF, N_EMBD)
            if architecture in ("Qwen3ForCausalLM", "Gemma3ForCausalLM"):
                for part in ("q", "k"):
                    self._add(f"{at}.self_attn.{part}_norm.weight", head, centre=centre)
            self._add(f"{at}.self_attn.o_proj.weight", N_EMBD, N_HEAD * head)
            self._add(f"{at}.mlp.down_proj.weight", N_EMBD, N_FF)
        self._add("model.norm.weight", N_EMBD, centre=centre)
        if not is_gemma and not self.config.get("tie_word_embeddings"):
            self._add("lm_head.weight", N_VOCAB, N_EMBD)

    def write_adapter(
        self, folder: Path, *, rank: int = 4, alpha: float = 8.0, **config: Any
    ) -> dict[str, Path]:
        """Write an adapter of random matrices; from then on the reference computes with it."""
        folder.mkdir(parents=True)
        values = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, **config}
        (folder / "adapter_config.json").write_text(json.dumps(values))
        tensors = {}
        for i in range(N_LAYER):
            for part in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"):
                name = f"model.layers.{i}.{part}"
                rows, columns = self.tensors[f"{name}.weight"].shape
                a, b = (
                    (self._random.standard_normal(shape) * 0.3).astype(np.float32)
                    for shape in ((rank, columns), (rows, rank))
                )
                tensors[f"base_model.model.{name}.lora_A.weight"] = ("F32", a)
                tensors[f"base_model.model.{name}.lora_B.weight"] = ("F32", b)
                scale = alpha / (np.sqrt(rank) if config.get("use_rslora") else rank)
                self.tensors[f"{name}.weight"] = self.tensors[f"{name}.weight"] + np.float32(scale) * (b @ a)
        write_safetensors(folder / "adapter_model.safetensors", tensors)
        return {path.name: path for path in folder.iterdir()}

    def greedy(self, prompt: Sequence[int], n_tokens: int) -> list[int]:
        """The likeliest tokens behind a prompt, one after the other."""
        tokens = list(prompt)
        for _ in range(n_tokens):
            tokens.append(int(np.argmax(self.logits(tokens))))
        return tokens[len(prompt) :]

    def logits(self, tokens: Sequence[int]) -> Floats:
        """Of the token behind the last."""
        is_gemma = self.config["architectures"][0].startswith("Gemma")
        x = self.tensors["model.embed_tokens.weight"][list(tokens)]
        if is_gemma:
            x = x * np.float32(np.sqrt(N_EMBD))
        for i in range(N_LAYER):
            x = self._layer(i, x)
        x = self._norm("model.norm", x)[-1]
        head = self.tensors.get("lm_head.weight", self.tensors["model.embed_tokens.weight"])
        return _capped(head @ x, self.config.get("final_logit_softcapping"))

    def _layer(self, i: int, x: Floats) -> Floats:
        at, tensors = f"model.layers.{i}", self.tensors
        is_sandwich = f"{at}.pre_feedforward_layernorm.weight" in tensors
        attended = self._attention(i, self._norm(f"{at}.input_layernorm", x))
        if is_sandwich:
            attended = self._norm(f"{at}.post_attention_layernorm", attended)
        x = x + attended
        before = "pre_feedforward_layernorm" if is_sandwich else "post_attention_layernorm"
        h = self._norm(f"{at}.{before}", x)
        if f"{at}.mlp.gate_up_proj.weight" in tensors:
            gate, up = np.split(h @ tensors[f"{at}.mlp.gate_up_proj.weight"].T, 2, axis=-1)
        else:
            gate, up = (h @ tensors[f"{at}.mlp.{part}_proj.weight"].T for part in ("gate", "up"))
        active = _gelu(gate) if self.config["architectures"][0].startswith("Gemma") else _silu(gate)
        down = (active * up) @ tensors[f"{at}.mlp.down_proj.weight"].T
        return x + (self._norm(f"{at}.post_feedforward_layernorm", down) if is_sandwich else down)

    def _attention(self, i: int, h: Floats) -> Floats:
        at, head = f"model.layers.{i}.self_attn", self.config.get("head_dim", N_EMBD // N_HEAD)
        if f"{at}.qkv_proj.weight" in self.tensors:
            sizes = [N_HEAD * head, (N_HEAD + N_HEAD_KV) * head]
            q, k, v = np.split(h @ self.tensors[f"{at}.qkv_proj.weight"].T, sizes, axis=-1)
        else:
            q, k, v = (self._linear(f"{at}.{part}_proj", h) for part in "qkv")
        q, k, v = (values.reshape(len(h), -1, head) for values in (q, k, v))
        if f"{at}.q_norm.weight" in self.tensors:
            q, k = self._norm(f"{at}.q_norm", q), self._norm(f"{at}.k_norm", k)
        q, k = self._rotated(i, q), self._rotated(i, k)
        k, v = (np.repeat(values, N_HEAD // N_HEAD_KV, axis=1) for values in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.float32(np.sqrt(head))
        scores = _capped(scores, self.config.get("attn_logit_softcapping"))
        scores = np.where(np.tri(len(h), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed = np.einsum("hqk,khd->qhd", weights, v).reshape(len(h), -1)
        return self._linear(f"{at}.o_proj", mixed)

    def _linear(self, name: str, h: Floats) -> Floats:
        found: Floats = h @ self.tensors[f"{name}.weight"].T
        return found + self.tensors[f"{name}.bias"] if f"{name}.bias" in self.tensors else found

    def _norm(self, name: str, x: Floats) -> Floats:
        shift = 1 if self.config["architectures"][0].startswith("Gemma") else 0
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + self.config["rms_norm_eps"])
        return (x / scale * (self.tensors[f"{name}.weight"] + shift)).astype(np.float32)

    def _rotated(self, i: int, values: Floats) -> Floats:
        """Hugging Face's rotary embedding: the first half of a head is paired with the second."""
        length = values.shape[-1]
        # Of Gemma 3, every layer but each sixth is a local one.
        is_local = self.config["architectures"] == ["Gemma3ForCausalLM"] and (i + 1) % 6
        base = 10000.0 if is_local else self.config["rope_theta"]
        frequencies = base ** (-np.arange(0, length, 2) / length) / self._divisors(length)
        angles = np.outer(np.arange(len(values)), frequencies)
        cos, sin = (np.concatenate([f(angles)] * 2, -1)[:, None] for f in (np.cos, np.sin))
        first, second = np.split(values, 2, axis=-1)
        return (values * cos + np.concatenate([-second, first], -1) * sin).astype(np.float32)

    def _divisors(self, length: int) -> Floats:
        scaling = self.config.get("rope_scaling") or {}
        if scaling.get("rope_type") != "llama3":
            return np.ones(length // 2, np.float32)
        waves = 2 * np.pi * self.config["rope_theta"] ** (np.arange(0, length, 2) / length)
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        original, factor = scaling["original_max_position_embeddings"], scaling["factor"]
        smooth = np.clip((original / waves - low) / (high - low), 0, 1)
        return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


class SeeingCheckpoint(Checkpoint):
    """Gemma 3 with a part that sees, around the text part that the reference computes.

    `at`: what stands before the names of the text part, "language_model.model" or "model.language_model", and
    `beside` before those of the others.
    """

    def __init__(self, at: str, beside: str, **config: Any) -> None:
        super().__init__("Gemma3ForCausalLM", **config)
        self._at, self._beside = at, beside
        for name in ("vision_tower.vision_model.post_layernorm.weight", "multi_modal_projector.x_weight"):
            self._add(name, 8)

    def _written_config(self) -> dict[str, Any]:
        return {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "eos_token_id": [257],
            "text_config": {**self.config, "architectures": None},
            "vision_config": {"hidden_size": 8},
        }

    def _written_name(self, name: str) -> str:
        return name.replace("model", self._at, 1) if name.startswith("model.") else f"{self._beside}{name}"


def _capped(values: Floats, cap: float | None) -> Floats:
    return (np.tanh(values / cap) * cap).astype(np.float32) if cap else values


def _silu(x: Floats) -> Floats:
    return x / (1 + np.exp(-x))


def _gelu(x: Floats) -> Floats:
    return (0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))).astype(np.float32)
