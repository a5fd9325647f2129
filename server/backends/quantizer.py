"""Quantising a file, and converting a model to one, each in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

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


def convert(
    files: Mapping[str, Path], target: Path, *, command: Sequence[str] = CONVERT
) -> Generator[float, None, None]:
    """Make a GGUF file of a model in Hugging Face's layout; yields the share that is done, 0 to 1.

    Args:
        files: by their names in the model's folder.
    Raises: as `run_job`.
    """
    job = {"files": {name: str(path) for name, path in files.items()}, "target": str(target)}
    return run_job(command, job, target.parent, what="the model cannot be converted")
