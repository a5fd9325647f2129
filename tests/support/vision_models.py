"""Tiny models that see, with random weights: a text model and its projector, for each way to place an image.

llava     the image's tokens follow each other like those of a text
gemma3    they see each other, also those that come later
qwen2vl   they lie in a plane: an image of many tokens moves the text behind it by few positions
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image

from tests.support.tiny_gguf import Typed, byte_tokens, gguf_bytes

KINDS: Final = ("llava", "gemma3", "qwen2vl")

CHAT_TEMPLATE: Final = (
    "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}<|im_start|>"
)

N_CTX_TRAIN: Final = 2048
IMAGE_SIZE: Final = 64
"""Pixels of a side that llava's and gemma3's images are scaled to."""

_N_EMBD, _N_FF, _N_HEAD, _N_LAYER, _N_WINDOW = 64, 96, 2, 2, 64
_HEAD = _N_EMBD // _N_HEAD
_EYE_EMBD, _EYE_FF, _EYE_HEAD, _EYE_LAYER, _PATCH = 32, 48, 2, 2, 8
_N_MEL, _N_FRAMES, _STACK = 80, 1500, 50
"""Whisper's bands and its steps of 20 ms in 30 s, and how many of these become a token."""

_SPECIAL = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
_SPECIAL += ("<start_of_image>", "<end_of_image>")
N_VOCAB: Final = 256 + len(_SPECIAL)

_ARCHITECTURES: Final[Mapping[str, str]] = {"llava": "llama", "gemma3": "gemma3", "qwen2vl": "qwen2vl"}
_PROJECTORS: Final[Mapping[str, str]] = {"llava": "mlp", "gemma3": "gemma3", "qwen2vl": "qwen2vl_merger"}

Array = np.ndarray[Any, np.dtype[np.float32]]
Tensor = tuple[str, Array]


class VisionModel(NamedTuple):
    """The two files."""

    text: Path
    projector: Path


def write_vision_model(folder: Path, kind: str, *, chat_template: str = "") -> VisionModel:
    """Write a text model and its projector of one of `KINDS`."""
    text, projector = folder / f"{kind}.gguf", folder / f"{kind}-mmproj.gguf"
    text.write_bytes(_text_model(kind, chat_template))
    projector.write_bytes(_projector(kind))
    return VisionModel(text, projector)


def write_hearing_model(folder: Path, *, chat_template: str = "") -> VisionModel:
    """Write a text model and a projector that hears: an encoder like Whisper's, with Ultravox's connector."""
    text, projector = folder / "ultravox.gguf", folder / "ultravox-mmproj.gguf"
    text.write_bytes(_text_model("llava", chat_template))
    projector.write_bytes(_hearing_projector())
    return VisionModel(text, projector)


def sound(seed: int, *, seconds: float = 0.5) -> bytes:
    """A sound of a few tones, as the bytes of a WAV file."""
    rate = 16_000
    times = np.arange(int(seconds * rate)) / rate
    tones = np.random.default_rng(seed).uniform(100, 4000, 3)
    samples = (sum(np.sin(2 * np.pi * tone * times) for tone in tones) * 8000).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def picture(seed: int, *, size: tuple[int, int] = (48, 40), form: str = "PNG") -> bytes:
    """A picture of coloured squares, as the bytes of a file. `size`: width and height."""
    rng = np.random.default_rng(seed)
    squares = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(squares).resize(size, Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def _text_model(kind: str, chat_template: str) -> bytes:
    architecture = _ARCHITECTURES[kind]
    tokens = [*byte_tokens(), *_SPECIAL]
    sizes: dict[str, Any] = {
        "context_length": N_CTX_TRAIN,
        "embedding_length": _N_EMBD,
        "block_count": _N_LAYER,
        "feed_forward_length": _N_FF,
        "attention.head_count": _N_HEAD,
        "attention.head_count_kv": _N_HEAD,
        "attention.key_length": _HEAD,
        "attention.value_length": _HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": _HEAD,
        "rope.freq_base": 10000.0,
    }
    if kind == "gemma3":
        sizes |= {"attention.sliding_window": _N_WINDOW, "attention.sliding_window_pattern": 2}
    if kind == "qwen2vl":
        sizes["rope.dimension_sections"] = Typed("i32", [_HEAD // 8, _HEAD // 8, _HEAD // 8, _HEAD // 8])
    metadata: dict[str, Any] = {
        "general.architecture": architecture,
        "general.type": "model",
        **{f"{architecture}.{key}": value for key, value in sizes.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": Typed("i32", [1] * 256 + [3] * len(_SPECIAL)),
        "tokenizer.ggml.merges": ["h e"],
        "tokenizer.ggml.eos_token_id": 257,
        "tokenizer.ggml.add_bos_token": False,
    }
    if chat_template:
        metadata["tokenizer.chat_template"] = chat_template
    random = _Random(7)
    tensors: list[Tensor] = [
        ("token_embd.weight", random(len(tokens), _N_EMBD)),
        ("output_norm.weight", np.ones(_N_EMBD, np.float32)),
        ("output.weight", random(len(tokens), _N_EMBD)),
    ]
    for index in range(_N_LAYER):
        tensors += _text_layer(f"blk.{index}.", kind, random)
    return gguf_bytes(metadata, tensors)


def _text_layer(layer: str, kind: str, random: _Random) -> list[Tensor]:
    ones, head_ones = np.ones(_N_EMBD, np.float32), np.ones(_HEAD, np.float32)
    tensors: list[Tensor] = [
        (layer + "attn_norm.weight", ones),
        *[(layer + f"attn_{part}.weight", random(_N_EMBD, _N_EMBD)) for part in ("q", "k", "v", "output")],
        (layer + "ffn_norm.weight", ones),
        (layer + "ffn_gate.weight", random(_N_FF, _N_EMBD)),
        (layer + "ffn_up.weight", random(_N_FF, _N_EMBD)),
        (layer + "ffn_down.weight", random(_N_EMBD, _N_FF)),
    ]
    if kind == "gemma3":
        tensors += [
            (layer + "attn_q_norm.weight", head_ones),
            (layer + "attn_k_norm.weight", head_ones),
            (layer + "post_attention_norm.weight", ones),
            (layer + "post_ffw_norm.weight", ones),
        ]
    if kind == "qwen2vl":
        tensors += [(layer + f"attn_{part}.bias", random(_N_EMBD)) for part in ("q", "k", "v")]
    return tensors


def _projector(kind: str) -> bytes:
    metadata: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": _PROJECTORS[kind],
        "clip.use_gelu": True,
        "clip.vision.embedding_length": _EYE_EMBD,
        "clip.vision.attention.head_count": _EYE_HEAD,
        "clip.vision.feed_forward_length": _EYE_FF,
        "clip.vision.block_count": _EYE_LAYER,
        "clip.vision.projection_dim": _N_EMBD,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_size": IMAGE_SIZE,
        "clip.vision.patch_size": _PATCH,
        "clip.vision.projector.scale_factor": 2,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
    }
    random = _Random(13)
    n_patches = (IMAGE_SIZE // _PATCH) ** 2
    tensors: list[Tensor] = [
        ("v.patch_embd.weight", random(_EYE_EMBD, 3, _PATCH, _PATCH)),
        ("v.post_ln.weight", np.ones(_EYE_EMBD, np.float32)),
        ("v.post_ln.bias", np.zeros(_EYE_EMBD, np.float32)),
    ]
    if kind == "qwen2vl":
        tensors.append(("v.patch_embd.weight.1", random(_EYE_EMBD, 3, _PATCH, _PATCH)))
    else:
        tensors.append(("v.position_embd.weight", random(n_patches, _EYE_EMBD)))
    for index in range(_EYE_LAYER):
        tensors += _eye_layer(f"v.blk.{index}.", random)
    return gguf_bytes(metadata, tensors + _connector(kind, random))


def _hearing_projector() -> bytes:
    n_stacked = _STACK * _EYE_EMBD
    metadata: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_audio_encoder": True,
        "clip.projector_type": "ultravox",
        "clip.use_gelu": True,
        "clip.audio.embedding_length": _EYE_EMBD,
        "clip.audio.attention.head_count": _EYE_HEAD,
        "clip.audio.feed_forward_length": _EYE_FF,
        "clip.audio.block_count": 1,
        "clip.audio.projection_dim": _N_EMBD,
        "clip.audio.attention.layer_norm_epsilon": 1e-5,
        "clip.audio.num_mel_bins": _N_MEL,
        "clip.audio.projector.stack_factor": _STACK,
    }
    random = _Random(17)
    tensors: list[Tensor] = [
        ("a.conv1d.1.weight", random(_EYE_EMBD, _N_MEL, 3)),
        ("a.conv1d.1.bias", random(_EYE_EMBD, 1)),
        ("a.conv1d.2.weight", random(_EYE_EMBD, _EYE_EMBD, 3)),
        ("a.conv1d.2.bias", random(_EYE_EMBD, 1)),
        ("a.position_embd.weight", random(_N_FRAMES, _EYE_EMBD)),
        ("a.post_ln.weight", np.ones(_EYE_EMBD, np.float32)),
        ("a.post_ln.bias", np.zeros(_EYE_EMBD, np.float32)),
        *[item for item in _eye_layer("a.blk.0.", random) if not item[0].endswith("attn_k.bias")],
        ("mm.a.mlp.1.weight", random(2 * _N_EMBD, n_stacked)),
        ("mm.a.mlp.2.weight", random(_N_EMBD, _N_EMBD)),
        ("mm.a.norm_pre.weight", np.ones(n_stacked, np.float32)),
        ("mm.a.norm_mid.weight", np.ones(_N_EMBD, np.float32)),
    ]
    return gguf_bytes(metadata, tensors)


def _eye_layer(layer: str, random: _Random) -> list[Tensor]:
    tensors: list[Tensor] = []
    for part in ("q", "k", "v", "out"):
        tensors.append((layer + f"attn_{part}.weight", random(_EYE_EMBD, _EYE_EMBD)))
        tensors.append((layer + f"attn_{part}.bias", random(_EYE_EMBD)))
    for norm in ("ln1", "ln2"):
        tensors.append((layer + norm + ".weight", np.ones(_EYE_EMBD, np.float32)))
        tensors.append((layer + norm + ".bias", np.zeros(_EYE_EMBD, np.float32)))
    return [
        *tensors,
        (layer + "ffn_up.weight", random(_EYE_FF, _EYE_EMBD)),
        (layer + "ffn_up.bias", random(_EYE_FF)),
        (layer + "ffn_down.weight", random(_EYE_EMBD, _EYE_FF)),
        (layer + "ffn_down.bias", random(_EYE_EMBD)),
    ]


def _connector(kind: str, random: _Random) -> list[Tensor]:
    if kind == "gemma3":
        return [
            ("mm.input_projection.weight", random(_EYE_EMBD, _N_EMBD)),
            ("mm.soft_emb_norm.weight", np.ones(_EYE_EMBD, np.float32)),
        ]
    n_in = 4 * _EYE_EMBD if kind == "qwen2vl" else _EYE_EMBD
    return [
        ("mm.0.weight", random(n_in, n_in)),
        ("mm.0.bias", random(n_in)),
        ("mm.2.weight", random(_N_EMBD, n_in)),
        ("mm.2.bias", random(_N_EMBD)),
    ]


class _Random:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def __call__(self, *shape: int) -> Array:
        return (self._rng.standard_normal(shape) * 0.25).astype(np.float32)
