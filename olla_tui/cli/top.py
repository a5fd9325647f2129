"""`olla top`: models, requests and devices of a running server on one plain screen."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

import msgspec

from olla_tui.cli.models import connect
from olla_tui.cli.watch import can_place_cursor, read_interval, watch
from olla_tui.client.plain import PlainClient
from olla_tui.client.shapes import status_snapshot
from olla_tui.settings import speaks_utf8
from olla_tui.state.devices import facts_text, label_devices, memory_word
from olla_tui.state.graphs import ASCII, UNICODE, Glyphs, bar
from olla_tui.state.numbers import (
    bytes_text,
    count_text,
    countdown_text,
    gib_text,
    percent_text,
    rate_text,
    seconds_text,
)
from olla_tui.state.requests import glyph_for, in_order, is_open, state_text
from olla_tui.state.rows import fit, plain
from olla_tui.state.running import activity_text, context_text, device_text, keep_alive_text
from server.errors import OllaError
from server.settings import Settings
from server.types.models import RunningModel
from server.types.status import DeviceSnapshot, RequestSnapshot, StatusSnapshot
from server.wire.headers import VERSION_HEADER
from server.wire.ollama.models import running_models

BAR_WIDTH = 20
_IN_ASCII = str.maketrans("…–°", "~- ")


def show_top(interval: str, *, once: bool, as_json: bool) -> None:
    """Show what the server does until q; once, or as JSON lines, where asked for.

    Raises: InvalidRequest for an interval that is none, ServerUnreachable when no server answers at first.
    """
    interval_s = read_interval(interval)
    settings, client = Settings.load(), connect()
    first = ask(client)
    if as_json:
        _print_json(client, first, interval_s, once=once)
        return
    glyphs = UNICODE if speaks_utf8(settings.terminal) and not settings.ascii_only else ASCII
    if once:
        sys.stdout.write("\n".join(line.rstrip() for line in top_lines(first, 120, 1000, glyphs)) + "\n")
        return

    def draw(columns: int, rows: int) -> Sequence[str]:
        try:
            return top_lines(ask(client), columns, rows, glyphs)
        except OllaError as error:
            return [f"{error.message}; asking again"]

    watch(draw, interval_s, screen=can_place_cursor(settings.terminal.get("TERM", "")))


def ask(client: PlainClient) -> StatusSnapshot:
    """The server as it is now; of a real Ollama, what its own routes tell. Raises: ServerUnreachable."""
    reply, headers = client.call_for("GET", "/api/version")
    if headers.get(VERSION_HEADER):
        return status_snapshot(client.call("GET", "/olla/status"))
    now_s = time.time()
    return StatusSnapshot(
        version=str(reply.get("version", "")) if isinstance(reply, dict) else "",
        started_at=now_s,
        taken_at=now_s,
        host=client.base_url,
        device_note="An Ollama tells nothing of its devices and requests.",
        running=running_models(client.call("GET", "/api/ps"), now_s),
    )


def _print_json(client: PlainClient, snapshot: StatusSnapshot, interval_s: float, *, once: bool) -> None:
    """One line of JSON for each look; a model that never expires has null there."""
    while True:
        value = msgspec.to_builtins(snapshot)
        for model in value["running"]:
            if math.isinf(model["expires_at"]):
                model["expires_at"] = None
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
        sys.stdout.flush()
        if once:
            return
        time.sleep(interval_s)  # the interval that the user asks for; Ctrl-C ends it
        snapshot = ask(client)


def top_lines(snapshot: StatusSnapshot, columns: int, rows: int, glyphs: Glyphs = UNICODE) -> list[str]:
    """The whole screen, requests as far as there are rows. Pure."""
    lines = [_head(snapshot), ""]
    lines += [
        _device(label, device, glyphs)
        for label, device in zip(label_devices(snapshot.devices), snapshot.devices, strict=False)
    ]
    if snapshot.device_note:
        lines.append(snapshot.device_note)
    name_width = max(12, columns - 68)
    lines += ["", _columns("MODEL", "SIZE", "ON", "CONTEXT", "SLOTS", "DOES", "UNTIL", name_width)]
    lines += [_model(model, snapshot.taken_at, name_width) for model in snapshot.running]
    if not snapshot.running:
        lines.append("none is loaded")
    if snapshot.requests:
        lines += ["", f"  {'REQUEST':<22} {'STATE':<10} {'IN':>5} {'OUT':>5} {'TOK/S':>6} {'TIME':>8}  MODEL"]
        lines += [_request(request, glyphs) for request in in_order(snapshot.requests)]
    shown = [fit(line, columns) for line in lines[:rows]]
    return shown if glyphs.braille else [line.translate(_IN_ASCII) for line in shown]


def _head(snapshot: StatusSnapshot) -> str:
    up_s = snapshot.taken_at - snapshot.started_at
    up = f"  up {countdown_text(up_s)}" if up_s >= 1 else ""
    rate = f"  {rate_text(snapshot.tokens_per_s)} tok/s" if snapshot.tokens_per_s else ""
    counts = f"{len(snapshot.running)} loaded  {snapshot.n_active} active  {snapshot.n_queued} queued"
    return f"olla top  {snapshot.host}  {snapshot.version}{up}  {counts}{rate}"


def _device(label: str, device: DeviceSnapshot, glyphs: Glyphs) -> str:
    meter = plain(bar(device.utilization, BAR_WIDTH, glyphs))
    used, total = gib_text(device.memory_used_bytes), gib_text(device.memory_total_bytes)
    memory = f"{memory_word(device)} {used}/{total} G"
    used_share = percent_text(device.utilization)
    return f"{label:<5} {meter} {used_share}  {memory:<18} {facts_text(device)}  {device.name}"


def _model(model: RunningModel, now_s: float, name_width: int) -> str:
    return _columns(
        model.name,
        bytes_text(model.size_bytes),
        device_text(model),
        context_text(model),
        f"{model.n_busy_slots}/{model.n_slots}",
        activity_text(model, now_s),
        keep_alive_text(model, now_s),
        name_width,
    )


def _columns(
    name: str, size: str, place: str, context: str, slots: str, does: str, until: str, name_width: int
) -> str:
    return f"{fit(name, name_width)} {size:>8} {place:>8} {context:>10} {slots:>6} {does:>15} {until:>10}"


def _request(request: RequestSnapshot, glyphs: Glyphs) -> str:
    glyph = glyph_for(request, glyphs).text
    tail = request.error or request.model
    rate = rate_text(request.tokens_per_s) if is_open(request) else ""
    counts = f"{count_text(request.n_prompt_tokens):>5} {count_text(request.n_output_tokens):>5} {rate:>6}"
    words = f"{fit(request.route, 22)} {fit(state_text(request), 10)}"
    return f"{glyph} {words} {counts} {seconds_text(request.duration_s):>8}  {tail}"
