"""Quantising a file, and converting a model to one, each in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from server.backends.job import run_job

QUANTIZE: tuple[str, ...] = (sys.executable, "-P", "-m", "server.engine.quantize")
CONVERT: tuple[str, ...] = (sys.executable, "-P", "-m", "server.convert")


def quantize(
    source: Path,
    target: Path,
    type_number: int,
    overrides: Sequence[tuple[str, int]] = (),
    *,
    n_threads: int = 0,
    command: Sequence[str] = QUANTIZE,
) -> Generator[float, None, None]:
    """Quantise a GGUF file; yields the share that is done, 0 to 1.

    Args:
        type_number: llama_ftype.
        overrides: patterns of tensor names, and the ggml type of those tensors.
        n_threads: 0 for one on each processor.
    Raises: as `run_job`.
    """
    job = {
        "source": str(source),
        "target": str(target),
        "type": type_number,
        "overrides": list(overrides),
        "n_threads": n_threads or os.cpu_count() or 1,
    }
    return run_job(command, job, target.parent, what="the model cannot be quantized")


class Base(NamedTuple):
    """The model that an adapter was made for: llama.cpp's name of its architecture, and its heads."""

    architecture: str
    n_head: int
    n_head_kv: int


def convert(
    files: Mapping[str, Path], target: Path, base: Base | None = None, *, command: Sequence[str] = CONVERT
) -> Generator[float, None, None]:
    """Make a GGUF file of a model in Hugging Face's layout; yields the share that is done, 0 to 1.

    Args:
        files: by their names in the model's folder.
        base: when the files are an adapter's.
    Raises: as `run_job`.
    """
    paths = {name: str(path) for name, path in files.items()}
    what = "the adapter cannot be converted" if base else "the model cannot be converted"
    return run_job(command, {"files": paths, "target": str(target), "base": base}, target.parent, what=what)
