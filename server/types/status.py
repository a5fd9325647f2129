"""Frozen pictures of the running server, for the screen and for `/olla/status`."""

from __future__ import annotations

from typing import Literal

import msgspec

from server.types.models import RunningModel

RequestState = Literal["queued", "loading", "prefill", "decode", "done", "failed", "cancelled"]


class DeviceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU, or the processor with its memory.

    Attributes:
        kind: "gpu" or "cpu"; exactly one "cpu" is always there, last.
        utilization: 0 to 1.
        temperature_c, power_w, power_limit_w, clock_mhz: None when the device does not tell.
        pcie_link: speed and width of its link, "" when it is not told.
        pcie_bytes_per_s: over that link in both directions, None when it is not told.
        disk_used_bytes, disk_total_bytes: of the disk with the models, for the processor; 0: not known.
    """

    name: str
    kind: Literal["gpu", "cpu"]
    utilization: float
    memory_used_bytes: int
    memory_total_bytes: int
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_mhz: int | None = None
    pcie_link: str = ""
    pcie_bytes_per_s: float | None = None
    disk_used_bytes: int = 0
    disk_total_bytes: int = 0


class RequestSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One request, open or lately ended.

    Attributes:
        id: what `cancel_request` takes.
        started_at: Unix time of arrival, seconds.
        duration_s: until now, or until its end.
        queue_position: 1 for the next to go, 0 when not queued.
        wait_reason: why it waits, "" when it does not.
        first_token_s: seconds from arrival to the first token, None before it.
        error: sentence, "" when there is none.
        energy_j: joules that the devices took while it was worked on, shared equally with others at the same
            time; 0 where no device tells its power, and for what was over before it was looked at.
    """

    id: int
    route: str
    model: str
    client: str
    state: RequestState
    started_at: float
    duration_s: float
    queue_position: int = 0
    wait_reason: str = ""
    n_prompt_tokens: int = 0
    n_output_tokens: int = 0
    first_token_s: float | None = None
    tokens_per_s: float = 0.0
    error: str = ""
    energy_j: float = 0.0


class RecordedPrompt(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt of a request as the model got it, where prompts are recorded.

    Attributes:
        id: of the request.
        text: with the marks of its template; pictures are marks, too.
        n_left_out: characters that are missing in its middle.
    """

    id: int
    text: str
    n_left_out: int = 0


class StatusSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The server at one moment. `requests` are newest first and bounded.

    Attributes:
        records_prompts: the prompts of the latest requests can be asked for.
    """

    version: str
    started_at: float
    taken_at: float
    host: str
    devices: tuple[DeviceSnapshot, ...] = ()
    device_note: str = ""
    running: tuple[RunningModel, ...] = ()
    requests: tuple[RequestSnapshot, ...] = ()
    n_active: int = 0
    n_queued: int = 0
    tokens_per_s: float = 0.0
    records_prompts: bool = False


class LogLine(msgspec.Struct, frozen=True):
    """A line of the server's or a worker's log. `number` counts up without a gap.

    Attributes:
        source: "server", or "engine MODEL".
    """

    number: int
    time: float
    level: Literal["debug", "info", "warning", "error"]
    source: str
    text: str
