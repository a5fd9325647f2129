"""Loaded models as lines."""

from __future__ import annotations

import math

from olla_tui.state.graphs import UNICODE, Glyphs, bar, stacked_bar
from olla_tui.state.numbers import bytes_text, context_length_text, count_text, countdown_text, rate_text
from olla_tui.state.rows import Row, Span, fit, join_ends, row
from server.types.models import DevicePart, RunningModel

KEEP_ALIVE_STEPS_S = (60.0, 300.0, 900.0, 1800.0, 3600.0, 4 * 3600.0, 24 * 3600.0, math.inf)
"""What `+` and `-` step through."""

RELEASED_S = 300.0
"""What is left to a model that was held: the keep-alive that nobody has changed."""


def device_text(model: RunningModel) -> str:
    """Where the model lives: the device's name, "2 GPUs", "GPU+CPU", or the share that is on GPUs."""
    if model.size_vram_bytes <= 0 or model.size_bytes <= 0:
        return "CPU"
    gpus = [part.device for part in model.device_parts if part.is_gpu and part.n_bytes]
    if 0 < model.n_gpu_layers < model.n_layers:
        return "GPU+CPU"
    if gpus:
        return gpus[0] if len(gpus) == 1 else f"{len(gpus)} GPUs"
    share = model.size_vram_bytes / model.size_bytes
    return "GPU" if share > 0.995 else f"{share:.0%} GPU"


def layers_text(model: RunningModel) -> str:
    """Layers on GPUs of all layers, as "30/49"; "–" before the model is loaded."""
    return f"{model.n_gpu_layers}/{model.n_layers}" if model.n_layers else "–"


def remaining_s(model: RunningModel, now: float) -> float:
    """Seconds until the model is unloaded, inf for never."""
    return max(0.0, model.expires_at - now)


def stepped_keep_alive_s(model: RunningModel, now: float, step: int) -> float:
    """The next longer (1) or shorter (-1) keep-alive than what is left now."""
    left = remaining_s(model, now)
    if step > 0:
        return next((value for value in KEEP_ALIVE_STEPS_S if value > left + 1), math.inf)
    return next((value for value in reversed(KEEP_ALIVE_STEPS_S) if value < left - 1), KEEP_ALIVE_STEPS_S[0])


def activity_text(model: RunningModel, now: float) -> str:
    """What the model does: starting, loading with its progress, decoding at a rate, or nothing."""
    if model.state == "starting":
        return "starting"
    if model.state == "loading":
        return f"loading {min(model.load_fraction, 0.99):.0%}"
    if model.state == "stopping":
        return "unloading"
    if model.n_busy_slots:
        return f"{rate_text(model.tokens_per_s)} tok/s"
    return "idle"


def keep_alive_text(model: RunningModel, now: float) -> str:
    """How long the model stays; a busy one stays as long as it is busy."""
    return "busy" if model.n_busy_slots else countdown_text(remaining_s(model, now))


def n_used_per_slot(model: RunningModel) -> int:
    """Tokens of context that a busy slot holds, the mean where there are several; 0 when none is busy."""
    return round(model.n_kv_tokens / model.n_busy_slots) if model.n_busy_slots else 0


def context_text(model: RunningModel) -> str:
    """Tokens in use of the tokens that fit, for one slot as in the chat: "3.1k/32k"."""
    return f"{count_text(n_used_per_slot(model))}/{context_length_text(model.n_ctx)}"


def rail_rows(model: RunningModel, width: int, now: float, glyphs: Glyphs = UNICODE) -> list[Row]:
    """Two lines for the rail: name, device and rate; memory, context and time left."""
    activity = activity_text(model, now)
    busy = "good" if model.n_busy_slots else "muted"
    mark = Span((glyphs.busy if model.n_busy_slots else glyphs.waiting) + " ", busy)
    right = row(Span(f"{device_text(model)}  ", "muted"), Span(fit(activity, 11, "right"), busy))
    room = max(4, width - 2 - sum(len(span.text) for span in right) - 1)
    first = join_ends(row(mark, Span(fit(model.name, room), "strong")), right, width)
    second = join_ends(
        row(Span(f"  {bytes_text(model.size_bytes)}  ctx {context_text(model)}", "muted")),
        row(Span(keep_alive_text(model, now), "muted")),
        width,
    )
    return [first, second]


def is_held(model: RunningModel) -> bool:
    """Whether the model stays until somebody unloads it."""
    return math.isinf(model.expires_at)


def other_bytes(model: RunningModel) -> int:
    """What a load takes beside weights, contexts and kept conversations: buffers and the process itself."""
    known = model.weights_bytes + model.kv_bytes + model.host_cache_bytes
    return max(0, model.size_bytes - known)


def memory_stack(model: RunningModel, width: int, glyphs: Glyphs = UNICODE) -> Row:
    """Weights, KV cache and the rest of the model's own memory side by side, all of `width`."""
    total = max(1, model.weights_bytes + model.kv_bytes + model.host_cache_bytes + other_bytes(model))
    rest = model.host_cache_bytes + other_bytes(model)
    parts = (
        (model.weights_bytes / total, glyphs.weights, "vram.weights"),
        (model.kv_bytes / total, glyphs.kv, "vram.kv"),
        (rest / total, glyphs.other, "vram.other"),
    )
    return stacked_bar(parts, width, glyphs)


def detail_lines(model: RunningModel, now: float) -> list[tuple[str, str]]:
    """Label and text of what is known about a loaded model."""
    details = model.details
    kept = f", {bytes_text(model.host_cache_bytes)} kept conversations" if model.host_cache_bytes else ""
    memory = (
        f"{bytes_text(model.weights_bytes)} weights, {bytes_text(model.kv_bytes)} kv cache{kept}, "
        f"{bytes_text(other_bytes(model))} other"
    )
    left = f"{keep_alive_text(model, now)} after its last answer"
    stays = "until it is unloaded" if is_held(model) else left
    lines = [
        ("model", " ".join(filter(None, (model.name, details.parameter_size, details.quantization_level)))),
        ("memory", memory),
        *_device_lines(model),
        ("context", f"{context_length_text(model.n_ctx)} tokens for each of {model.n_slots} slots"),
        ("in use", f"{model.n_busy_slots} of {model.n_slots} slots, {count_text(model.n_kv_tokens)} tokens"),
        ("stays", "while it answers" if model.n_busy_slots else stays),
        ("process", str(model.pid) if model.pid else "–"),
    ]
    if model.has_draft_model or model.draft_refusal:
        lines.append(("draft", model.draft_refusal or "a draft model guesses tokens"))
    return lines


def _device_lines(model: RunningModel) -> list[tuple[str, str]]:
    """What each device holds and computes; without such a list what is on GPUs and what is not."""
    if model.device_parts:
        texts = [_part_text(part) for part in model.device_parts]
        return [("devices" if index == 0 else "", text) for index, text in enumerate(texts)]
    on_gpu, on_cpu = model.size_vram_bytes, max(0, model.size_bytes - model.size_vram_bytes)
    places = [f"{bytes_text(n)} {where}" for n, where in ((on_gpu, "on GPU"), (on_cpu, "in RAM")) if n]
    return [("devices", ", ".join(places) or "not known yet")]


def _part_text(part: DevicePart) -> str:
    parts = ((part.weights_bytes, "weights"), (part.kv_bytes, "kv cache"), (part.compute_bytes, "buffers"))
    held = [f"{bytes_text(n_bytes)} {what}" for n_bytes, what in parts if n_bytes]
    layers = f"{part.n_layers} layer{'s' * (part.n_layers != 1)}" if part.n_layers else ""
    name = f"{part.device}:" if part.device else ""
    return f"{name} {', '.join(filter(None, (layers, *held))) or 'nothing'}".strip()


def slot_bar(model: RunningModel, width: int, glyphs: Glyphs = UNICODE) -> Row:
    """How full the context of a busy slot is."""
    return bar(n_used_per_slot(model) / model.n_ctx if model.n_ctx else 0.0, width, glyphs)
