"""The model library: what a filter and a sort order leave of it, and how a line of it reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from olla_tui.state.numbers import age_text, bytes_text, context_length_text
from server.types.models import ModelInfo, ModelSummary, RunningModel
from server.types.status import DeviceSnapshot

SortKey = Literal["name", "size", "modified", "params"]
SORT_KEYS: tuple[SortKey, ...] = ("modified", "name", "size", "params")

Fit = Literal["ok", "part", "no", "?"]

LOAD_OVERHEAD = 1.15
"""Memory that a load takes per byte of model file, with a short context; a rule of thumb, not an estimate."""


@dataclass(frozen=True)
class ModelQuery:
    """Filter and order of the list. `text` is words that must all occur; "!word" must not."""

    text: str = ""
    sort: SortKey = "modified"
    descending: bool = True


def haystack(model: ModelSummary) -> str:
    """The text that a filter searches."""
    details = model.details
    parts = (model.name, details.family, details.parameter_size, details.quantization_level)
    return " ".join((*parts, *model.capabilities)).lower()


def matches(model: ModelSummary, words: Sequence[str]) -> bool:
    """Whether a model passes the words of a filter."""
    text = haystack(model)
    return all(word[1:] not in text if word[:1] == "!" and word[1:] else word in text for word in words)


def parameter_count(text: str) -> float:
    """The number that "7.2B" or "135M" means, 0 when it means none."""
    units = {"T": 1e12, "B": 1e9, "M": 1e6, "K": 1e3}
    unit = units.get(text[-1:].upper())
    try:
        return float(text[:-1]) * unit if unit else float(text or 0)
    except ValueError:
        return 0.0


def select(models: Iterable[ModelSummary], query: ModelQuery) -> list[ModelSummary]:
    """The models that the query leaves, in its order; equal ones by name."""
    words = query.text.lower().split()
    kept = sorted((model for model in models if matches(model, words)), key=lambda model: model.name)
    if query.sort == "name":
        return kept[::-1] if query.descending else kept
    if query.sort == "size":
        return sorted(kept, key=lambda model: model.size_bytes, reverse=query.descending)
    if query.sort == "params":
        return sorted(
            kept, key=lambda model: parameter_count(model.details.parameter_size), reverse=query.descending
        )
    return sorted(kept, key=lambda model: model.modified_at, reverse=query.descending)


def next_sort(query: ModelQuery, step: int) -> ModelQuery:
    """The query sorted by the next (1) or previous (-1) column; numbers and dates start with the largest."""
    key = SORT_KEYS[(SORT_KEYS.index(query.sort) + step) % len(SORT_KEYS)]
    return ModelQuery(query.text, key, descending=key != "name")


def fits(size_bytes: int, devices: Sequence[DeviceSnapshot]) -> Fit:
    """Whether a model of this size goes into the memory of the GPUs ("ok"), partly ("part"), or nowhere."""
    needed = size_bytes * LOAD_OVERHEAD
    gpu_bytes = sum(device.memory_total_bytes for device in devices if device.kind == "gpu")
    cpu_bytes = sum(device.memory_total_bytes for device in devices if device.kind == "cpu")
    if not devices:
        return "?"
    if gpu_bytes and needed <= gpu_bytes:
        return "ok"
    if needed <= gpu_bytes + cpu_bytes:
        return "part" if gpu_bytes else "ok"
    return "no"


def fit_text(fit: Fit) -> tuple[str, str]:
    """Bar with word, and role, of a fit: never colour alone."""
    return {
        "ok": ("██ ok", "good"),
        "part": ("▓▓ part", "warn"),
        "no": ("░░ no", "bad"),
        "?": ("", "muted"),
    }[fit]


def capability_text(model: ModelSummary) -> str:
    """What the model can do beyond completing text, in short words."""
    shorts = {"embedding": "embed", "thinking": "think"}
    return " ".join(shorts.get(name, name) for name in model.capabilities if name != "completion")


def detail_lines(
    model: ModelSummary, info: ModelInfo | None, running: RunningModel | None, now: float
) -> list[tuple[str, str]]:
    """Label and text of everything known about a model, for the panel beside the list."""
    details = model.details
    length = details.context_length
    lines = [
        ("name", model.name),
        ("family", details.family or "unknown"),
        ("parameters", details.parameter_size or "unknown"),
        ("quantization", details.quantization_level or "unknown"),
        ("context", f"{context_length_text(length)} tokens" if length else "unknown"),
        ("on disk", bytes_text(model.size_bytes)),
        ("changed", age_text(now - model.modified_at)),
        ("can", " ".join(model.capabilities) or "unknown"),
        ("digest", model.digest[:12]),
    ]
    if running is not None:
        lines.insert(1, ("loaded", f"{bytes_text(running.size_bytes)}, {running.n_slots} slots"))
    if info is not None:
        if info.license:
            lines.append(("licence", next((s for s in info.license.splitlines() if s.strip()), "").strip()))
        lines.extend(("parameter", " ".join(line.split())) for line in info.parameters.splitlines()[:8])
        if info.system:
            lines.append(("system", " ".join(info.system.split())))
    return lines
