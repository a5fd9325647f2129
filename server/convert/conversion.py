"""From a folder in Hugging Face's layout to one GGUF file: the plan, from headers alone, then the bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from server.convert.architectures import Architecture, architecture_of
from server.convert.config import Config, Files
from server.convert.names import new_name
from server.convert.safetensors import (
    Array,
    StoredTensor,
    as_float32,
    from_float32,
    is_supported,
    load,
    read_index,
)
from server.convert.tokenizer import tokenizer_metadata
from server.errors import BadModelFile, InvalidRequest
from server.gguf.reader import DEFAULT_ALIGNMENT, tensor_bytes
from server.gguf.writer import Value, encode_header, padded, records
from server.types.models import TensorInfo

_FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}  # llama_ftype of llama.h
_MEAN, _FIRST, _LAST = 1, 2, 3  # llama_pooling_type
_PIECE_BYTES = 1 << 24
# Matrices that llama.cpp's kernels want as they are.
_ALWAYS_F32 = frozenset({"position_embd.weight", "token_types.weight"})


class Output(NamedTuple):
    """A tensor of the result, and how it is made."""

    info: TensorInfo
    make: Callable[[], Array]


class Conversion:
    """A file that can be written."""

    def __init__(self, head: bytes, outputs: list[Output]) -> None:
        self._head = head
        self._outputs = outputs
        data = sum(padded(tensor_bytes(output.info), DEFAULT_ALIGNMENT) for output in outputs)
        self.size_bytes = len(head) + data

    def write(self, file: BinaryIO) -> Iterator[int]:
        """Write it; yields how many bytes are there. Raises: BadModelFile, OSError."""
        file.write(self._head)
        n_written = len(self._head)
        for output in self._outputs:
            data = np.ascontiguousarray(output.make()).reshape(-1).view(np.uint8).data
            if len(data) != tensor_bytes(output.info):
                raise BadModelFile(f"the tensor {output.info.name!r} has another size than it should")
            for start in range(0, len(data), _PIECE_BYTES):
                file.write(data[start : start + _PIECE_BYTES])
                yield n_written + min(start + _PIECE_BYTES, len(data))
            file.write(bytes(-len(data) % DEFAULT_ALIGNMENT))
            n_written += padded(len(data), DEFAULT_ALIGNMENT)
        yield n_written


def plan(paths: Mapping[str, Path]) -> Conversion:
    """What is to be written for these files, by their names in the folder.

    Raises: BadModelFile for files that are damaged or missing, InvalidRequest for a kind of model that is not
        known here.
    """
    files = Files(paths)
    config = Config(files.json("config.json")).text()
    if not config.values:
        raise BadModelFile("the model has no config.json")
    architecture = architecture_of(config)
    tensors = read_tensors(files)
    outputs = _outputs(architecture, config, tensors)
    embedding = next((o.info for o in outputs if o.info.name == "token_embd.weight"), None)
    if embedding is None:
        raise BadModelFile("the model has no token embedding")
    metadata = _metadata(architecture, config, files, outputs)
    metadata |= tokenizer_metadata(files, embedding.shape[-1])
    if architecture.name.startswith("gemma") and metadata["tokenizer.ggml.model"].value == "llama":
        # Its SentencePiece model says so, and nothing of the small files does.
        metadata["tokenizer.ggml.add_space_prefix"] = Value("bool", False)
    return Conversion(encode_header(records(metadata), [output.info for output in outputs]), outputs)


def read_tensors(files: Files) -> dict[str, StoredTensor]:
    """The tensors of all safetensors files by name. Raises: BadModelFile."""
    found: dict[str, StoredTensor] = {}
    for name, path in sorted(files.paths.items()):
        if name.endswith(".safetensors"):
            for key, tensor in read_index(path, name).items():
                if key in found:
                    raise BadModelFile(f"the tensor {key!r} is in more than one file")
                found[key] = tensor
    if not found:
        raise BadModelFile("the model has no tensors")
    missing = set(files.json("model.safetensors.index.json").get("weight_map") or {}) - found.keys()
    if missing:
        raise BadModelFile(
            f"the tensor {min(missing)!r} is in none of the files: a part of the model is missing"
        )
    return found


def _outputs(architecture: Architecture, config: Config, tensors: Mapping[str, StoredTensor]) -> list[Output]:
    outputs: dict[str, Output] = {}
    for name, tensor in tensors.items():
        if name in architecture.skipped or name.startswith(architecture.left_out):
            continue
        new = new_name(name, dict(architecture.tensors))
        if new is None:
            raise InvalidRequest(
                f"the tensor {name!r} is none that {config.architecture} has",
                hint="Convert the model with llama.cpp's convert_hf_to_gguf.py and create from the result.",
            )
        if not new:
            continue
        if not is_supported(tensor):
            raise InvalidRequest(
                f"the tensor {name!r} is of the type {tensor.kind}; F32, F16 and BF16 can be converted"
            )
        if new in outputs:
            raise BadModelFile(f"the tensor {new!r} is there twice")
        outputs[new] = _output(architecture, config, tensor, new)
    for name, values in architecture.extra(config).items():
        info = TensorInfo(name, "F32", values.shape[::-1])
        outputs[name] = Output(info, lambda values=values: values)  # type: ignore[misc]
    return list(outputs.values())


def _output(architecture: Architecture, config: Config, tensor: StoredTensor, new: str) -> Output:
    is_matrix = len(tensor.shape) > 1 and new not in _ALWAYS_F32
    kind = ("F16" if tensor.kind == "F32" else tensor.kind) if is_matrix else "F32"
    n_head = _permuted_heads(architecture, config, new)
    if n_head and (not tensor.shape or tensor.shape[0] % (2 * n_head)):
        raise BadModelFile(f"the tensor {tensor.name!r} has rows that do not make {n_head} heads")
    shift = bool(architecture.shifted) and tensor.name.endswith(architecture.shifted)

    def make() -> Array:
        values = load(tensor)
        if n_head:
            values = permute(values, n_head)
        if kind == tensor.kind and not shift:
            return values
        floats = as_float32(values, tensor.kind)
        return from_float32(floats + np.float32(1) if shift else floats, kind)

    return Output(TensorInfo(new, kind, tensor.shape[::-1]), make)


def _permuted_heads(architecture: Architecture, config: Config, new: str) -> int:
    """Heads whose rows have to be put in another order, 0 for none."""
    if not architecture.permuted:
        return 0
    part = new.split(".")[-2]
    n_head = config.integer("num_attention_heads")
    return {"attn_q": n_head, "attn_k": config.integer("num_key_value_heads", default=n_head)}.get(part, 0)


def permute(values: Array, n_head: int) -> Array:
    """Rows of each head: those that Hugging Face's rotary embedding pairs stand beside each other."""
    rows = values.shape[0]
    return (
        values.reshape(n_head, 2, rows // n_head // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    )


def _metadata(
    architecture: Architecture, config: Config, files: Files, outputs: list[Output]
) -> dict[str, Value]:
    kinds = [output.info.type for output in outputs if len(output.info.shape) > 1]
    file_type = max(_FILE_TYPES, key=lambda kind: (kinds.count(kind), kind != "F32"))
    name = str(config.values.get("_name_or_path") or "").rstrip("/").rpartition("/")[2]
    found = {
        "general.architecture": Value("str", architecture.name),
        "general.type": Value("str", "model"),
    }
    if name:
        found["general.name"] = Value("str", name)
    own = architecture.metadata(config)
    is_encoder = architecture.name in ("bert", "nomic-bert")
    if is_encoder or _pooling_file(files):
        own["pooling_type"] = Value("u32", _pooling(files))
    found |= {f"{architecture.name}.{key}": value for key, value in own.items()}
    if is_encoder:
        n_types = config.integer("type_vocab_size", default=1)
        found["tokenizer.ggml.token_type_count"] = Value("u32", n_types)
    return found | {
        "general.file_type": Value("u32", _FILE_TYPES[file_type]),
        "general.quantization_version": Value("u32", 2),
    }


def _pooling_file(files: Files) -> str:
    """Name of the file by which sentence-transformers knows an embedding model, "" when there is none."""
    return next((name for name in sorted(files.paths) if name.endswith("_Pooling/config.json")), "")


def _pooling(files: Files) -> int:
    """How token vectors become one, from the file of sentence-transformers; the mean where there is none."""
    pooling = files.json(_pooling_file(files))
    if pooling.get("pooling_mode_cls_token"):
        return _FIRST
    return _LAST if pooling.get("pooling_mode_lasttoken") else _MEAN
