"""Adapters (LoRA) as the PEFT library writes them: two small matrices for each tensor that they change."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from server.convert.architectures import ARCHITECTURES, Architecture
from server.convert.config import Config, Files
from server.convert.conversion import Conversion, Output, permute, read_tensors
from server.convert.names import new_name
from server.convert.safetensors import Array, StoredTensor, as_float32, from_float32, is_supported, load
from server.errors import BadModelFile, InvalidRequest
from server.gguf.writer import Value, encode_header, records
from server.types.models import TensorInfo

_PREFIX = "base_model.model."
_PART = re.compile(r"(.*)\.lora_([AB])(?:\.default)?\.weight")
_KIND = "F32"  # llama.cpp adds adapters in full precision, and they are small


def plan_adapter(paths: Mapping[str, Path], base: str, n_head: int, n_head_kv: int) -> Conversion:
    """What is to be written for an adapter's files.

    Args:
        base: llama.cpp's name of the architecture of the model that it was made for.
        n_head, n_head_kv: heads of that model.
    Raises: BadModelFile for files that are damaged or missing, InvalidRequest for a kind that is not known.
    """
    files = Files(paths)
    config = Config(files.json("adapter_config.json"))
    if not config.values:
        raise BadModelFile("the adapter has no adapter_config.json")
    architecture = next((known for known in ARCHITECTURES.values() if known.name == base), None)
    kind = str(config.values.get("peft_type", ""))
    if kind != "LORA":
        raise _refusal(f"of the kind {kind}")
    if config.values.get("use_dora"):
        raise _refusal("with DoRA")
    if architecture is None:
        raise _refusal(f"of {base} models")
    rank = config.integer("r")
    alpha = config.number("lora_alpha")
    if config.values.get("use_rslora"):
        alpha *= math.sqrt(rank)  # llama.cpp divides by the rank, and this form by its root
    heads = {"attn_q": n_head, "attn_k": n_head_kv} if architecture.permuted else {}
    tensors = read_tensors(files)
    outputs = [_output(architecture, tensor, heads) for _, tensor in sorted(tensors.items())]
    metadata = {
        "general.architecture": Value("str", base),
        "general.type": Value("str", "adapter"),
        "adapter.type": Value("str", "lora"),
        "adapter.lora.alpha": Value("f32", alpha),
        "general.file_type": Value("u32", 0),
        "general.quantization_version": Value("u32", 2),
    }
    return Conversion(encode_header(records(metadata), [output.info for output in outputs]), outputs)


def _refusal(what: str) -> InvalidRequest:
    hint = "Convert the adapter with llama.cpp's convert_lora_to_gguf.py."
    return InvalidRequest(f"adapters {what} cannot be converted", hint=hint)


def _output(architecture: Architecture, tensor: StoredTensor, heads: Mapping[str, int]) -> Output:
    match = _PART.fullmatch(tensor.name.removeprefix(_PREFIX))
    new = new_name(f"{match[1]}.weight", dict(architecture.tensors)) if match else None
    if match is None or not new or not is_supported(tensor) or len(tensor.shape) != 2:
        raise InvalidRequest(
            f"the tensor {tensor.name!r} of the adapter cannot be converted",
            hint="Adapters of LoRA alone can be, for layers of attention and feed-forward.",
        )
    n_head = heads.get(new.split(".")[-2], 0) if match[2] == "B" else 0
    if n_head and tensor.shape[0] % (2 * n_head):
        raise BadModelFile(f"the tensor {tensor.name!r} has rows that do not make {n_head} heads")
    info = TensorInfo(f"{new}.lora_{match[2].lower()}", _KIND, tensor.shape[::-1])
    return Output(info, _maker(tensor, n_head))


def _maker(tensor: StoredTensor, n_head: int) -> Callable[[], Array]:
    def make() -> Array:
        values = load(tensor)
        if n_head:
            values = permute(values, n_head)
        return from_float32(as_float32(values, tensor.kind), _KIND)

    return make
