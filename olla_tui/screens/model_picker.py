"""The two lists that the chat chooses from: models, and earlier chats."""

from __future__ import annotations

from collections.abc import Sequence

from olla_tui.history.store import ChatSummary
from olla_tui.screens.picker import PickerScreen
from olla_tui.state import models
from olla_tui.state.models import ModelQuery
from olla_tui.state.numbers import age_text, bytes_text
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

CHAT_COLUMNS = (
    Column("chat", 0),
    Column("model", 20, "left", 74),
    Column("turns", 5, "right", 50),
    Column("last used", 11, "right"),
)


def model_picker(state: Workstation, current: str) -> PickerScreen:
    """A list of the models that can chat; the loaded ones are marked."""
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
    return PickerScreen(
        "Choose a model",
        MODEL_COLUMNS,
        lines,
        current=current,
        subtitle=f"{state.glyphs.busy} loaded · enter chooses, esc leaves",
        empty="No model in the store can chat." if not lines else "No model matches.",
    )


def chat_picker(summaries: Sequence[ChatSummary], state: Workstation, current: str) -> PickerScreen:
    """A list of all chats, the latest first."""
    answering = {chat.id for chat in state.chats if chat.is_answering}
    lines: list[tuple[str, Sequence[Row]]] = [
        (
            summary.id,
            (
                row(
                    Span(f"{state.glyphs.busy} " if summary.id in answering else "  ", "good"),
                    Span(summary.title or "New chat", "strong"),
                ),
                row(Span(summary.model, "muted")),
                row(Span(str(summary.n_turns), "muted")),
                row(Span(age_text(state.now - summary.updated_at), "muted")),
            ),
        )
        for summary in summaries
    ]
    return PickerScreen(
        "Chats",
        CHAT_COLUMNS,
        lines,
        current=current,
        empty="No chat has been kept yet." if not lines else "No chat matches.",
    )
