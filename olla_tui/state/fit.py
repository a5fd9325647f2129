"""Whether a model fits this machine, for the context that one asks about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from olla_tui.state.graphs import UNICODE, Glyphs
from olla_tui.state.numbers import bytes_text, context_length_text
from server.gguf.memory_shape import MemoryShape
from server.hardware.memory_plan import MemoryPlan, load_bytes
from server.types.models import ModelSummary
from server.types.status import DeviceSnapshot

Word = Literal["fits", "partly", "no", "?"]

CONTEXTS: tuple[int, ...] = (4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)
"""What the key for it steps through; 4096 is what a machine without a GPU loads with."""

N_BATCH = 512
"""Rows of a step, as models are loaded when nobody asks for another number."""

LOAD_OVERHEAD = 1.15
"""Memory that a load takes per byte of model file where the header does not tell; a rule of thumb."""


@dataclass(frozen=True)
class Fit:
    """How a model fits.

    Attributes:
        needed_bytes: for one request with its whole context.
        n_ctx: tokens of that context: what was asked for, or what the model was trained for if that is less.
        is_estimate: by the header's sizes; otherwise by the size of the file alone.
        gpu_share: of the bytes, that go onto GPUs.
    """

    word: Word
    needed_bytes: int
    n_ctx: int
    is_estimate: bool
    gpu_share: float = 0.0


def needed_bytes(size_bytes: int, shape: MemoryShape | None, n_ctx: int) -> int:
    """Memory of one request with a context of so many tokens, as the server plans it."""
    if shape is None:
        return int(size_bytes * LOAD_OVERHEAD)
    plan = MemoryPlan(n_slots=1, swa_full=not shape.n_window)
    return load_bytes(shape, plan, n_ctx=n_ctx, n_batch=N_BATCH)


def fit_of(
    model: ModelSummary, shape: MemoryShape | None, devices: Sequence[DeviceSnapshot], n_ctx: int
) -> Fit:
    """Whether the model goes into the memory of the GPUs, partly, or nowhere.

    What counts is the memory that there is, not what is free now: models leave when another needs their room.
    """
    trained = model.details.context_length
    n_ctx = min(n_ctx, trained) if trained else n_ctx
    needed = needed_bytes(model.size_bytes, shape, n_ctx)
    gpu_bytes = sum(device.memory_total_bytes for device in devices if device.kind == "gpu")
    share = min(1.0, gpu_bytes / needed) if needed else 0.0
    return Fit(fit_word(needed, devices), needed, n_ctx, shape is not None, share)


def fit_word(needed: int, devices: Sequence[DeviceSnapshot]) -> Word:
    """Whether so many bytes go into the memory of the GPUs, or of the processor where there is none."""
    gpu_bytes = sum(device.memory_total_bytes for device in devices if device.kind == "gpu")
    cpu_bytes = sum(device.memory_total_bytes for device in devices if device.kind == "cpu")
    if not devices:
        return "?"
    if needed <= (gpu_bytes or cpu_bytes):
        return "fits"
    return "partly" if gpu_bytes and needed <= gpu_bytes + cpu_bytes else "no"


def fit_words(fit: Fit, glyphs: Glyphs = UNICODE) -> tuple[str, str]:
    """Bar with word, and role: never colour alone."""
    return {
        "fits": (f"{glyphs.full * 2} fits", "good"),
        "partly": (f"{glyphs.kv * 2} partly", "warn"),
        "no": (f"{glyphs.empty * 2} no", "bad"),
        "?": ("", "muted"),
    }[fit.word]


def what_if_lines(
    model: ModelSummary, shape: MemoryShape | None, devices: Sequence[DeviceSnapshot]
) -> list[tuple[str, Fit]]:
    """(context, fit) for each length that the model was trained for."""
    trained = model.details.context_length
    lengths = [n for n in CONTEXTS if not trained or n < trained] + ([trained] if trained else [])
    return [(context_length_text(n), fit_of(model, shape, devices, n)) for n in lengths]


def fit_sentence(fit: Fit) -> str:
    """ "11.2 GB, fits", "65.4 GB, 73% on GPUs"."""
    about = "" if fit.is_estimate else "about "
    size = f"{about}{bytes_text(fit.needed_bytes)}"
    if fit.word == "partly":
        return f"{size}, {fit.gpu_share:.0%} on GPUs"
    words = {"fits": "fits", "no": "does not fit"}
    return f"{size}, {words[fit.word]}" if fit.word in words else size


def next_context(n_ctx: int, step: int) -> int:
    """The next longer (1) or shorter (-1) context to ask about; behind the last comes the first."""
    index = CONTEXTS.index(n_ctx) if n_ctx in CONTEXTS else 0
    return CONTEXTS[(index + step) % len(CONTEXTS)]
