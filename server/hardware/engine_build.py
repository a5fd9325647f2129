"""What the installed engine can run on, found out without loading it."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

GPU_BACKENDS: Final = ("cuda", "hip", "vulkan", "metal", "sycl", "musa")
"""llama.cpp's GPU backends; each comes as a library of its own named after it."""


@functools.cache
def engine_uses_gpus() -> bool:
    """Whether the installed llama.cpp has a GPU backend."""
    if sys.platform == "darwin":
        return True  # Metal is part of every build there
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        return False
    return has_gpu_backend(path.name for path in (Path(found.origin).parent / "lib").glob("*ggml-*"))


def has_gpu_backend(library_names: Iterable[str]) -> bool:
    """Whether one of the libraries is a GPU backend of ggml."""
    return any(f"ggml-{backend}" in name for name in library_names for backend in GPU_BACKENDS)
