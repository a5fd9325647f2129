"""Everything that the panes show, gathered in one place; folded from snapshots, never from tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from olla_tui.state.conversation import Conversation
from olla_tui.state.devices import DeviceHistory, DeviceView, label_devices
from olla_tui.state.graphs import UNICODE, Glyphs
from olla_tui.state.logs import LogBook
from server.gguf.footprint import ModelFootprint
from server.types.history import StatusHistory
from server.types.models import BundledModel, ModelSummary, RunningModel
from server.types.status import LogLine, RequestSnapshot, StatusSnapshot
from server.types.transfers import PartialDownload, TransferList

Part = Literal["status", "models", "logs", "chat", "chats", "link", "pulls", "answer"]
"""What a change touched; "answer" is no more than a longer answer of some chat."""

ANSWER_ONLY: frozenset[str] = frozenset(("answer",))

Connection = Literal["starting", "up", "down"]

MAX_OPEN_CHATS = 50
"""Chats held in memory; the longest unused one that does not answer is put away first."""
MAX_IDLE_CHARS = 250_000
"""Text, and bytes of pictures, of the chats beside the one that is shown; beyond it they are put away."""
MIN_IDLE_CHATS = 2
"""Chats beside it that are held however long they are, so that going back to one is at once."""

METER_PERIOD_S = 1.0

MIN_MEASURED_TOKENS = 16
"""With fewer tokens the rate of an answer says little."""
MAX_SPEEDS = 1000


@dataclass
class Workstation:
    """The state of the screen. The bridge alone changes it, on the screen's loop.

    Attributes:
        address: host and port for the header, such as "127.0.0.1:11434".
        attached: the server is another process.
        is_olla: it tells of requests, devices and its log; a real Ollama does not.
        wants_low_bandwidth: as the user says; None: when the link is slow.
        link_bytes_per_s: what the screen sends to the terminal; None when it is not measured.
        now: Unix time of the latest tick, seconds.
        speeds: tokens a second of each model's latest answer that was long enough to measure it.
    """

    address: str = ""
    attached: bool = False
    is_olla: bool = True
    connection: Connection = "starting"
    problem: str = ""
    glyphs: Glyphs = UNICODE
    now: float = 0.0
    snapshot: StatusSnapshot | None = None
    devices: list[DeviceView] = field(default_factory=list)
    models: tuple[ModelSummary, ...] | None = None
    bundled: tuple[BundledModel, ...] = ()
    footprints: dict[str, ModelFootprint] = field(default_factory=dict)
    speeds: dict[str, float] = field(default_factory=dict)
    transfers: TransferList = field(default_factory=TransferList)
    partials: tuple[PartialDownload, ...] = ()
    history: StatusHistory | None = None
    logs: LogBook = field(default_factory=LogBook)
    chats: list[Conversation] = field(default_factory=list)
    chat: Conversation | None = None
    link_bytes_per_s: float | None = None
    slow_link: bool = False
    wants_low_bandwidth: bool | None = None
    _meters_at: float = float("-inf")
    _histories: dict[tuple[str, str], DeviceHistory] = field(default_factory=dict)

    @property
    def low_bandwidth(self) -> bool:
        """Whether the link is to be spared."""
        return self.slow_link if self.wants_low_bandwidth is None else self.wants_low_bandwidth

    @property
    def running(self) -> tuple[RunningModel, ...]:
        """Loaded models, by name so that lines keep their places."""
        models = self.snapshot.running if self.snapshot else ()
        return tuple(sorted(models, key=lambda model: model.name))

    @property
    def requests(self) -> tuple[RequestSnapshot, ...]:
        """Open and lately ended requests."""
        return self.snapshot.requests if self.snapshot else ()

    @property
    def device_note(self) -> str:
        """Why there are no GPUs to see, "" when there are."""
        return self.snapshot.device_note if self.snapshot else ""

    def running_model(self, name: str) -> RunningModel | None:
        """The loaded model of that name."""
        return next((model for model in self.running if model.name == name), None)

    def model(self, name: str) -> ModelSummary | None:
        """The model of that name in the store."""
        return next((model for model in self.models or () if model.name == name), None)

    def fold_snapshot(self, snapshot: StatusSnapshot) -> bool:
        """Take a snapshot; False when nothing that is shown changed but the clock."""
        before = self.snapshot
        self.snapshot = snapshot
        was_up = self.connection == "up"
        self.connection, self.problem = "up", ""
        self._fold_devices(snapshot)
        self._fold_speeds(snapshot)
        return before is None or not was_up or not _same_but_clock(before, snapshot)

    def _fold_devices(self, snapshot: StatusSnapshot) -> None:
        """Every sample goes into the graphs, but the meters change once a second at most: they jitter."""
        settled = snapshot.taken_at - self._meters_at < METER_PERIOD_S
        settled = settled and len(self.devices) == len(snapshot.devices)
        views: list[DeviceView] = []
        for index, (label, device) in enumerate(
            zip(label_devices(snapshot.devices), snapshot.devices, strict=False)
        ):
            history = self._histories.setdefault((label, device.name), DeviceHistory())
            history.add(device, snapshot.taken_at)
            shown = self.devices[index].device if settled else device
            views.append(DeviceView(label, shown, history))
        self.devices = views
        if not settled:
            self._meters_at = snapshot.taken_at

    def _fold_speeds(self, snapshot: StatusSnapshot) -> None:
        # The newest come first, so that the oldest are overwritten.
        for request in reversed(snapshot.requests):
            is_measured = request.state == "done" and request.n_output_tokens >= MIN_MEASURED_TOKENS
            if is_measured and request.tokens_per_s > 0:
                self.speeds[request.model] = request.tokens_per_s
        while len(self.speeds) > MAX_SPEEDS:
            self.speeds.pop(next(iter(self.speeds)))

    def fold_failure(self, sentence: str) -> bool:
        """The server did not answer; False when that was known."""
        changed = (self.connection, self.problem) != ("down", sentence)
        self.connection, self.problem = "down", sentence
        return changed

    def fold_models(self, models: Sequence[ModelSummary], bundled: Sequence[BundledModel]) -> bool:
        """Take the list of the store; False when it is the same as before."""
        changed = (self.models, self.bundled) != (tuple(models), tuple(bundled))
        if changed:  # who prepared something for the list knows it by its identity
            self.models, self.bundled = tuple(models), tuple(bundled)
        return changed

    def fold_transfers(self, listed: TransferList, partials: Sequence[PartialDownload] | None) -> bool:
        """Take the queue, and what is unfinished where that was asked for; False when nothing changed."""
        left = self.partials if partials is None else tuple(partials)
        changed = (self.transfers, self.partials) != (listed, left)
        self.transfers, self.partials = listed, left
        return changed

    def fold_history(self, history: StatusHistory) -> bool:
        """Take what the server remembers of the window that is shown; False when it is the same as before."""
        changed = self.history != history
        self.history = history
        return changed

    def fold_logs(self, lines: Sequence[LogLine]) -> bool:
        """Take new log lines; False when there were none."""
        return self.logs.extend(lines)

    def open_chat(self, chat: Conversation) -> None:
        """Show a chat, keeping it among the open ones."""
        self.chats = [*(known for known in self.chats if known.id != chat.id), chat]
        self.chat = chat
        for known in self._idle()[: max(0, len(self.chats) - MAX_OPEN_CHATS)]:
            self.chats.remove(known)

    def surplus_chats(self) -> list[Conversation]:
        """The longest unused chats that need not be in memory once they are kept in a file."""
        idle = [chat for chat in self._idle() if chat.turns and chat.is_kept and not chat.is_unfinished]
        surplus, room = [], MAX_IDLE_CHARS
        for at, chat in enumerate(reversed(idle)):
            room -= chat.n_chars
            if room < 0 and at >= MIN_IDLE_CHATS:
                surplus.append(chat)
        return surplus[::-1]

    def put_away(self, chat: Conversation) -> bool:
        """Drop a chat from memory unless it is shown or answers; whether it was dropped."""
        if not any(known is chat for known in self._idle()):
            return False
        self.chats = [known for known in self.chats if known is not chat]
        return True

    def _idle(self) -> list[Conversation]:
        """Chats that are neither shown nor answer, the longest unused first."""
        return [known for known in self.chats if known is not self.chat and not known.is_answering]

    def forget_chat(self, chat_id: str) -> None:
        """Drop a chat; the latest of the others is shown in its place."""
        self.chats = [known for known in self.chats if known.id != chat_id]
        if self.chat is not None and self.chat.id == chat_id:
            self.chat = self.chats[-1] if self.chats else None

    def default_model(self) -> str:
        """The model for a new chat: a loaded one, else the newest in the store that can chat, else ""."""
        can_chat = [
            model
            for model in self.models or ()
            if not model.capabilities or "completion" in model.capabilities
        ]
        names = {model.name for model in can_chat}
        for running in self.running:
            if running.name in names:
                return running.name
        newest = max(can_chat, key=lambda model: model.modified_at, default=None)
        return newest.name if newest else ""


def _same_but_clock(before: StatusSnapshot, after: StatusSnapshot) -> bool:
    """Whether two snapshots of an idle server differ in nothing but the time they were taken."""
    return (
        before.devices == after.devices
        and before.running == after.running
        and before.requests == after.requests
        and (before.n_active, before.n_queued, before.tokens_per_s)
        == (after.n_active, after.n_queued, after.tokens_per_s)
        and (before.device_note, before.version, before.host)
        == (after.device_note, after.version, after.host)
        and not any(running.expires_at < float("inf") for running in after.running)
    )
