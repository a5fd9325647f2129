"""GPUs and the processor: histories, one-line meters and graphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from olla_tui.state.graphs import UNICODE, Glyphs, bar, braille_graph, level_role, stacked_bar
from olla_tui.state.metrics import Ring
from olla_tui.state.numbers import bytes_text, gib_text, percent_text
from olla_tui.state.rows import Row, Span, fit, fit_row, row
from server.types.models import DevicePart, RunningModel
from server.types.status import DeviceSnapshot

WINDOWS_S = (60, 120, 600, 3600, 6 * 3600, 24 * 3600)
"""Time windows of the graphs, in seconds."""
PERIOD_S = 1.0
OWN_WINDOW_S = 3600
"""How much the screen remembers itself; the server remembers a day."""
MAX_STACKED = 5
MAX_DEVICES = 64
_NUMBER = re.compile(r"^.*?(?=\d*$)")
"""What stands before the number at the end of a device's name."""


@dataclass
class DeviceHistory:
    """Utilization and memory of one device over time, one sample a second."""

    utilization: Ring = field(default_factory=lambda: Ring(OWN_WINDOW_S, PERIOD_S))
    memory: Ring = field(default_factory=lambda: Ring(OWN_WINDOW_S, PERIOD_S))

    def add(self, device: DeviceSnapshot, now_s: float) -> None:
        """Take one sample."""
        self.utilization.add(device.utilization, now_s)
        self.memory.add(memory_fraction(device), now_s)


@dataclass(frozen=True)
class DeviceView:
    """A device with its short label ("GPU0", "CPU") and its history."""

    label: str
    device: DeviceSnapshot
    history: DeviceHistory


def memory_fraction(device: DeviceSnapshot) -> float:
    """Share of the device's memory that is in use."""
    return device.memory_used_bytes / device.memory_total_bytes if device.memory_total_bytes else 0.0


def label_devices(devices: Sequence[DeviceSnapshot]) -> list[str]:
    """Short labels in the order of the devices: "GPU0", "GPU1", "CPU"."""
    labels: list[str] = []
    n_gpus = 0
    for device in devices[:MAX_DEVICES]:
        if device.kind == "gpu":
            labels.append(f"GPU{n_gpus}")
            n_gpus += 1
        else:
            labels.append("CPU")
    return labels


def shown(views: Sequence[DeviceView]) -> list[DeviceView]:
    """The GPUs, or the processor where there is none."""
    gpus = [view for view in views if view.device.kind == "gpu"]
    return gpus or list(views[:1])


def memory_word(device: DeviceSnapshot) -> str:
    """ "VRAM" for a GPU, "RAM" for the processor."""
    return "VRAM" if device.kind == "gpu" else "RAM"


def meter_spans(view: DeviceView, bar_width: int, *, memory: bool, glyphs: Glyphs = UNICODE) -> Row:
    """One meter for the header: label, bar, percent, and the memory when there is room."""
    device = view.device
    spans: list[Span] = [Span(f"{view.label} ", "muted")]
    if bar_width:
        spans += [*bar(device.utilization, bar_width, glyphs), Span(" ")]
    spans.append(Span(percent_text(device.utilization), level_role(device.utilization, glyphs)))
    if memory:
        used, total = gib_text(device.memory_used_bytes), gib_text(device.memory_total_bytes)
        spans.append(Span(f" {used:>4}/{total.removesuffix('.0')}G"))
    return tuple(spans)


def facts_text(device: DeviceSnapshot) -> str:
    """Temperature, power, clock, link and disk, as far as the device tells them."""
    facts: list[str] = []
    if device.temperature_c is not None:
        facts.append(f"{device.temperature_c:.0f} °C")
    if device.power_w is not None:
        limit = f"/{device.power_limit_w:.0f}" if device.power_limit_w else ""
        facts.append(f"{device.power_w:.0f}{limit} W")
    if device.clock_mhz is not None:
        facts.append(f"{device.clock_mhz / 1000:.1f} GHz")
    if device.pcie_bytes_per_s is not None:
        facts.append(f"pcie {bytes_text(device.pcie_bytes_per_s)}/s")
    if device.pcie_link:
        facts.append(device.pcie_link)
    if device.disk_total_bytes:
        used, total = bytes_text(device.disk_used_bytes), bytes_text(device.disk_total_bytes)
        facts.append(f"disk {used} of {total}")
    return "  ".join(facts)


LABEL_WIDTH = 7
"""Cells before a bar of memory."""
SCALE_WIDTH, SIDE_WIDTH = 4, 10
"""Cells beside a graph."""


def graph_rows(
    view: DeviceView,
    width: int,
    height: int,
    window_s: int,
    glyphs: Glyphs = UNICODE,
    *,
    samples: Sequence[float] | None = None,
) -> list[Row]:
    """The utilization over the window, with a scale at the left and the peak at the right.

    Args:
        samples: two for each column, in the place of what the screen remembers itself.
    """
    side = SIDE_WIDTH
    inner = max(1, width - SCALE_WIDTH - side)
    if samples is None:
        samples = view.history.utilization.window(window_s, 2 * inner)
    lines = braille_graph(samples, inner, height, braille=glyphs.braille)
    notes = [
        (f"util {percent_text(view.device.utilization)}", level_role(view.device.utilization, glyphs)),
        (f"peak {percent_text(max(samples, default=0.0))}", "muted"),
    ]
    if height > 2:
        notes.append((window_text(window_s), "muted"))
    rows: list[Row] = []
    for index, line in enumerate(lines):
        scale = "100" if index == 0 else "  0" if index == height - 1 else "   "
        note, role = notes[index] if index < len(notes) else ("", "")
        # One colour per line: the share that the line stands for decides it.
        reached = (height - index) / height
        rows.append(
            row(
                Span(scale + glyphs.bar, "faint"),
                Span(line, level_role(reached - 0.01, glyphs)),
                Span(fit(note, side, "right"), role),
            )
        )
    return rows


def window_text(window_s: int) -> str:
    """ "1 min", "2 min", "10 min", "1 h"."""
    return f"{window_s // 3600} h" if window_s >= 3600 else f"{window_s // 60} min"


def memory_rows(
    view: DeviceView,
    models: Sequence[RunningModel],
    width: int,
    glyphs: Glyphs = UNICODE,
    *,
    share: float = 1.0,
) -> list[Row]:
    """The device's memory as a stack of weights, KV cache, the rest and what is free; then the numbers.

    Args:
        share: of what all models hold on devices of this kind, for models that do not tell what each device
            holds. Below 1 there are several such devices and the numbers are marked by "~": nothing says that
            llama.cpp numbers them as the system does.
    """
    device = view.device
    total = max(1, device.memory_total_bytes)
    used = device.memory_used_bytes
    weights = min(used, sum(_held(model, "weights_bytes", view, share) for model in models))
    kv = min(used - weights, sum(_held(model, "kv_bytes", view, share) for model in models))
    parts = (
        ("weights", weights, glyphs.weights, "vram.weights"),
        ("kv", kv, glyphs.kv, "vram.kv"),
        ("other", used - weights - kv, glyphs.other, "vram.other"),
    )
    numbers = f" {gib_text(used)}/{gib_text(total).removesuffix('.0')} G"
    stack = stacked_bar(
        [(n_bytes / total, glyph, role) for _, n_bytes, glyph, role in parts],
        max(4, width - LABEL_WIDTH - len(numbers)),
        glyphs,
    )
    about = "~" if share < 1 else ""
    legend: list[Span] = []
    for name, n_bytes, glyph, role in parts:
        if n_bytes:
            mark = about if name != "other" else ""
            gap = "  " if legend else " "
            legend += [Span(gap), Span(glyph, role), Span(f" {name} {mark}{gib_text(n_bytes)}", "muted")]
    first = (Span(fit(memory_word(device), LABEL_WIDTH), "muted"), *stack, Span(numbers))
    return [fit_row(first, width), fit_row(legend, width)]


def model_rows(
    view: DeviceView,
    models: Sequence[RunningModel],
    width: int,
    glyphs: Glyphs = UNICODE,
    *,
    share: float = 1.0,
) -> list[Row]:
    """The device's memory as a stack of the models that it holds, and their names with bytes; none without.

    Args:
        share: as in `memory_rows`.
    """
    held = [(model.name, _size_on(model, view, share)) for model in models]
    held = sorted(((name, size) for name, size in held if size), key=lambda pair: -pair[1])[:MAX_STACKED]
    if not held:
        return []
    total = max(1, view.device.memory_total_bytes)
    looks = (
        (glyphs.weights, "vram.weights"),
        (glyphs.kv, "vram.kv"),
        (glyphs.other, "vram.other"),
        (glyphs.weights, "accent"),
        (glyphs.kv, "good"),
    )
    parts = [(size / total, *look) for (_, size), look in zip(held, looks, strict=False)]
    about = "~" if share < 1 else ""
    legend: list[Span] = []
    for (name, size), (glyph, role) in zip(held, looks, strict=False):
        legend += [Span("  " if legend else " "), Span(glyph, role)]
        legend.append(Span(f" {name} {about}{gib_text(size)}", "muted"))
    numbers = f" {gib_text(sum(size for _, size in held))} G"
    stack = stacked_bar(parts, max(4, width - LABEL_WIDTH - len(numbers)), glyphs)
    first = (Span(fit("models", LABEL_WIDTH), "muted"), *stack, Span(numbers, "muted"))
    return [fit_row(first, width), fit_row(legend, width)]


def _size_on(model: RunningModel, view: DeviceView, share: float) -> int:
    if model.device_parts:
        return sum(part.n_bytes for part in _parts_on(model, view, share))
    on_gpu = min(model.size_vram_bytes, model.size_bytes)
    return int((on_gpu if view.device.kind == "gpu" else model.size_bytes - on_gpu) * share)


def _parts_on(model: RunningModel, view: DeviceView, share: float) -> list[DevicePart]:
    """What of a model lies on a device; of several GPUs on that whose number stands in llama.cpp's name."""
    if view.device.kind != "gpu":
        return [part for part in model.device_parts if not part.is_gpu]
    gpus = [part for part in model.device_parts if part.is_gpu]
    number = view.label.removeprefix("GPU")
    return gpus if share == 1 else [part for part in gpus if _NUMBER.sub("", part.device) == number]


def share_of(view: DeviceView, views: Sequence[DeviceView]) -> float:
    """The share of the models' memory that this device is taken to hold: by its memory in use."""
    same = [other.device for other in views if other.device.kind == view.device.kind]
    used = sum(device.memory_used_bytes for device in same)
    return view.device.memory_used_bytes / used if len(same) > 1 and used else 1.0


def _held(model: RunningModel, what: str, view: DeviceView, share: float) -> int:
    if model.device_parts:
        return sum(getattr(part, what) for part in _parts_on(model, view, share))
    on_gpu = model.size_vram_bytes / model.size_bytes if model.size_bytes else 0.0
    return int(getattr(model, what) * (on_gpu if view.device.kind == "gpu" else 1.0 - on_gpu) * share)
