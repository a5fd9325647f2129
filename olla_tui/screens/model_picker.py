"""The list of models that a chat chooses from."""

from __future__ import annotations

from collections.abc import Sequence

from olla_tui.screens.picker import PickerScreen
from olla_tui.state import models
from olla_tui.state.models import ModelQuery
from olla_tui.state.numbers import bytes_text
from olla_tui.state.rows import Row, Span, row
from olla_tui.state.workstation import Workstation
from olla_tui.widgets.table import Column

MODEL_COLUMNS = (
    Column("model", 0),
    Column("params", 8, "right", 60),
    Column("quant", 8, "left", 70),
    Column("size", 8, "right"),
    Column("can", 16, "left", 74),
)


def model_lines(state: Workstation) -> list[tuple[str, Sequence[Row]]]:
    """The models that can chat; the loaded ones are marked."""
    chosen = models.select(state.models or (), ModelQuery(sort="name", descending=False))
    lines: list[tuple[str, Sequence[Row]]] = []
    for model in chosen:
        if model.capabilities and "completion" not in model.capabilities:
            continue
        loaded = state.running_model(model.name) is not None
        mark = state.glyphs.busy if loaded else " "
        cells = (
            row(Span(f"{mark} ", "good"), Span(model.name, "strong")),
            row(Span(model.details.parameter_size or "–")),
            row(Span(model.details.quantization_level or "–", "muted")),
            row(Span(bytes_text(model.size_bytes))),
            row(Span(models.capability_text(model), "muted")),
        )
        lines.append((model.name, cells))
    return lines


def model_picker(state: Workstation, current: str) -> PickerScreen:
    """A list of the models that can chat."""
    lines = model_lines(state)
    return PickerScreen(
        "Choose a model",
        MODEL_COLUMNS,
        lines,
        current=current,
        subtitle=f"{state.glyphs.busy} loaded · enter chooses, esc leaves",
        empty="No model in the store can chat." if not lines else "No model matches.",
    )
