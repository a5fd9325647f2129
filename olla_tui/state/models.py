"""The model library: what a filter and a sort order leave of it, and how a line of it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from olla_tui.state.numbers import age_text, bytes_text, context_length_text, rate_text
from server.gguf.footprint import ModelFootprint
from server.types.models import ModelInfo, ModelSummary, RunningModel

SortKey = Literal["name", "size", "modified", "params"]
SORT_KEYS: tuple[SortKey, ...] = ("modified", "name", "size", "params")

MAX_TEXT_LINES = 400
"""Of a system prompt, a template or a licence."""
MAX_PARAMETERS = 64


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


def parameter_count(text: str) -> float:
    """The number that "7.2B" or "135M" means, 0 when it means none."""
    units = {"T": 1e12, "B": 1e9, "M": 1e6, "K": 1e3}
    unit = units.get(text[-1:].upper())
    try:
        return float(text[:-1]) * unit if unit else float(text or 0)
    except ValueError:
        return 0.0


class Library:
    """The list of the store, prepared once so that each key of a filter costs one look through it."""

    def __init__(self) -> None:
        self._models: tuple[ModelSummary, ...] | None = None
        self._hay: dict[str, str] = {}
        self._orders: dict[tuple[SortKey, bool], list[ModelSummary]] = {}
        self._last: tuple[ModelQuery, list[ModelSummary]] | None = None
        self.by_name: dict[str, ModelSummary] = {}

    def take(self, models: tuple[ModelSummary, ...]) -> None:
        """Take a list; the same one again costs nothing."""
        if models is self._models:
            return
        self._models = models
        self._hay = {model.name: haystack(model) for model in models}
        self.by_name = {model.name: model for model in models}
        self._orders.clear()
        self._last = None

    def select(self, query: ModelQuery) -> list[ModelSummary]:
        """The models that the query leaves, in its order; equal ones by name."""
        if self._last is not None and self._last[0] == query:
            return self._last[1]
        found = self._order(query.sort, query.descending)
        for word in query.text.lower().split():
            if word[:1] == "!" and word[1:]:
                found = [model for model in found if word[1:] not in self._hay[model.name]]
            else:
                found = [model for model in found if word in self._hay[model.name]]
        self._last = (query, found)
        return found

    def _order(self, sort: SortKey, descending: bool) -> list[ModelSummary]:
        known = self._orders.get((sort, descending))
        if known is None:
            is_reversed = descending and sort == "name"
            by_name = sorted(self._models or (), key=lambda model: model.name, reverse=is_reversed)
            known = by_name if sort == "name" else sorted(by_name, key=_SORTS[sort], reverse=descending)
            self._orders[sort, descending] = known
        return known


_SORTS: dict[SortKey, Callable[[ModelSummary], float]] = {
    "size": lambda model: model.size_bytes,
    "params": lambda model: parameter_count(model.details.parameter_size),
    "modified": lambda model: model.modified_at,
}


def select(models: Iterable[ModelSummary], query: ModelQuery) -> list[ModelSummary]:
    """The models that the query leaves, in its order; equal ones by name."""
    library = Library()
    library.take(tuple(models))
    return library.select(query)


def next_sort(query: ModelQuery, step: int) -> ModelQuery:
    """The query sorted by the next (1) or previous (-1) column; numbers and dates start with the largest."""
    key = SORT_KEYS[(SORT_KEYS.index(query.sort) + step) % len(SORT_KEYS)]
    return ModelQuery(query.text, key, descending=key != "name")


def capability_text(model: ModelSummary) -> str:
    """What the model can do beyond completing text, in short words."""
    shorts = {"embedding": "embed", "thinking": "think"}
    return " ".join(shorts.get(name, name) for name in model.capabilities if name != "completion")


def detail_lines(
    model: ModelSummary,
    info: ModelInfo | None,
    running: RunningModel | None,
    now: float,
    *,
    footprint: ModelFootprint | None = None,
    tokens_per_s: float = 0.0,
    tags: Sequence[str] = (),
) -> list[tuple[str, str]]:
    """Label and text of what is known about a model, for the panel beside the list."""
    details = model.details
    length = details.context_length
    lines = [
        ("name", model.name),
        ("family", details.family or "unknown"),
        ("parameters", details.parameter_size or "unknown"),
        ("quantization", details.quantization_level or "unknown"),
        ("context", f"{context_length_text(length)} tokens" if length else "unknown"),
        *_disk_lines(model, footprint),
        ("changed", age_text(now - model.modified_at)),
        ("can", " ".join(model.capabilities) or "unknown"),
        ("digest", model.digest[:12]),
    ]
    if tags:
        lines.append(("other tags", " ".join(tags)))
    if tokens_per_s > 0:
        lines.insert(1, ("measured", f"{rate_text(tokens_per_s)} tok/s"))
    if running is not None:
        lines.insert(1, ("loaded", f"{bytes_text(running.size_bytes)}, {running.n_slots} slots"))
    return lines + (_info_lines(info) if info is not None else [])


def _disk_lines(model: ModelSummary, footprint: ModelFootprint | None) -> list[tuple[str, str]]:
    if footprint is None or not footprint.shared_bytes:
        return [("on disk", bytes_text(model.size_bytes))]
    own, shared = bytes_text(footprint.own_bytes), bytes_text(footprint.shared_bytes)
    return [("on disk", f"{own} own, {shared} shared"), ("shared with", " ".join(footprint.shared_with))]


def _info_lines(info: ModelInfo) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    if info.license:
        lines.append(("licence", next((s for s in info.license.splitlines() if s.strip()), "").strip()))
    parameters = info.parameters.splitlines()[:MAX_PARAMETERS]
    lines += [("parameter", " ".join(line.split())) for line in parameters]
    return lines


def text_sections(info: ModelInfo) -> list[tuple[str, list[str]]]:
    """Title and lines of what is longer than a line: the system prompt, the template, the licence."""
    texts = (("System", info.system), ("Template", info.template), ("Licence", info.license))
    return [(title, text.strip().splitlines()[:MAX_TEXT_LINES]) for title, text in texts if text.strip()]


def other_tags(model: ModelSummary, models: Iterable[ModelSummary]) -> list[str]:
    """Tags of the same repository that are in the store beside this one, by name."""
    repository = model.name.rpartition(":")[0]
    names = (other.name for other in models if other.namespace == model.namespace)
    parts = (name.rpartition(":") for name in names if name != model.name)
    return sorted(tag for found, _, tag in parts if repository and found == repository)
