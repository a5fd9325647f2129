"""The transfer queue: pulls and pushes, what earlier ones left unfinished, and what can be done with each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from olla_tui.state.fit import fit_word, needed_bytes
from olla_tui.state.graphs import UNICODE, Glyphs
from olla_tui.state.numbers import bytes_text, countdown_text, percent_text
from olla_tui.state.rows import Row, Span, fit, fit_row, row
from server.errors import InvalidModelName
from server.types.names import ModelName, split_source
from server.types.setting_values import parse_rate
from server.types.status import DeviceSnapshot
from server.types.transfers import PartialDownload, TransferInfo, TransferKind, TransferList

LineState = Literal["waiting", "running", "paused", "unfinished", "done", "failed", "cancelled"]
Verb = Literal["pause", "resume", "move", "limit", "remove", "again"]

UNDER_WAY: frozenset[LineState] = frozenset(("waiting", "running", "paused"))

_ROLES: dict[LineState, str] = {
    "waiting": "muted",
    "running": "good",
    "paused": "warn",
    "unfinished": "warn",
    "done": "muted",
    "failed": "bad",
    "cancelled": "muted",
}

_VERBS: dict[LineState, frozenset[Verb]] = {
    "waiting": frozenset(("pause", "move", "limit", "remove")),
    "running": frozenset(("pause", "move", "limit", "remove")),
    "paused": frozenset(("resume", "move", "limit", "remove")),
    "unfinished": frozenset(("again", "remove")),
    "done": frozenset(("remove",)),
    "failed": frozenset(("again", "remove")),
    "cancelled": frozenset(("again", "remove")),
}

NO_LIMIT_WORDS = frozenset(("0", "none", "off"))


@dataclass(frozen=True)
class PullLine:
    """One line of the queue: a transfer, or what is on the disk of a model that nobody fetches now.

    Attributes:
        key: "t7" for transfer 7, "p:NAME" for unfinished downloads of a model.
        transfer_id: 0 where there is no transfer.
        is_foreign: another program left it and may be at it, so it is never removed by hand.
        digests: of unfinished blobs; what `remove` takes away.
    """

    key: str
    model: str
    kind: TransferKind
    state: LineState
    transfer_id: int = 0
    total_bytes: int = 0
    completed_bytes: int = 0
    bytes_per_s: float = 0.0
    remaining_s: float | None = None
    limit_bytes_per_s: int = 0
    status: str = ""
    insecure: bool = False
    is_foreign: bool = False
    digests: tuple[str, ...] = ()

    @property
    def fraction(self) -> float:
        """Share of the bytes that is there; 0 when it cannot be told."""
        return min(1.0, self.completed_bytes / self.total_bytes) if self.total_bytes else 0.0

    @property
    def is_under_way(self) -> bool:
        """Whether it waits, runs or rests."""
        return self.state in UNDER_WAY

    def can(self, verb: Verb) -> bool:
        """Whether this can be done with it."""
        if verb == "remove" and self.is_foreign:
            return False
        return verb in _VERBS[self.state] and (verb != "again" or bool(self.model))


def queue_lines(listed: TransferList, partials: Sequence[PartialDownload]) -> list[PullLine]:
    """The whole queue: what is under way in its order, what is unfinished on the disk, what has ended."""
    lines = [_transfer_line(info) for info in listed.transfers]
    under_way = [line for line in lines if line.is_under_way]
    busy = {line.model for line in under_way}
    unfinished = [line for line in _partial_lines(partials) if line.model not in busy]
    # A pull that was cancelled and can be gone on with stands in one line, with what is there of it.
    resumable = {line.model for line in unfinished}
    ended = [
        line
        for line in lines
        if not line.is_under_way and not (line.state == "cancelled" and line.model in resumable)
    ]
    return under_way + unfinished + ended


def _transfer_line(info: TransferInfo) -> PullLine:
    return PullLine(
        key=f"t{info.id}",
        model=info.model,
        kind=info.kind,
        state=info.state,
        transfer_id=info.id,
        total_bytes=info.total_bytes,
        completed_bytes=info.completed_bytes,
        bytes_per_s=info.bytes_per_s,
        remaining_s=info.remaining_s,
        limit_bytes_per_s=info.limit_bytes_per_s,
        status=info.status,
        insecure=info.insecure,
    )


def _partial_lines(partials: Sequence[PartialDownload]) -> list[PullLine]:
    by_model: dict[str, list[PartialDownload]] = {}
    for partial in partials:
        if not partial.is_in_use:
            by_model.setdefault(partial.model, []).append(partial)
    return [
        PullLine(
            key=f"p:{model}",
            model=model,
            kind="pull",
            state="unfinished",
            total_bytes=sum(part.total_bytes for part in parts),
            completed_bytes=sum(part.completed_bytes for part in parts),
            status=f"{bytes_text(sum(part.size_bytes for part in parts))} on disk, "
            + ("the pull can go on" if model else "of a model that is not known"),
            is_foreign=any(part.program != "olla" for part in parts),
            digests=tuple(part.digest for part in parts),
        )
        for model, parts in sorted(by_model.items())
    ]


def new_position(listed: TransferList, transfer_id: int, step: int) -> int | None:
    """Where a transfer goes when it is moved by `step` places; None when it would stay.

    Args:
        step: -1 up, 1 down, 0 to the first place.
    """
    ids = [info.id for info in listed.transfers if info.state in UNDER_WAY]
    if transfer_id not in ids:
        return None
    place = ids.index(transfer_id)
    wanted = min(max(0, place + step), len(ids) - 1) if step else 0
    return wanted if wanted != place else None


def places(lines: Sequence[PullLine]) -> dict[str, int]:
    """Key of each line that waits to how many wait before it."""
    return {key: place for place, key in enumerate(line.key for line in lines if line.state == "waiting")}


# --- words ---


def glyph_for(line: PullLine, glyphs: Glyphs = UNICODE) -> Span:
    """The mark of its state."""
    marks: dict[LineState, str] = {
        "waiting": glyphs.waiting,
        "running": glyphs.busy,
        "paused": glyphs.half,
        "unfinished": glyphs.half,
        "done": glyphs.ok,
        "failed": glyphs.failed,
        "cancelled": "-",
    }
    return Span(marks[line.state], _ROLES[line.state])


def state_text(line: PullLine, n_before: int = 0) -> str:
    """The state in a word or two.

    Args:
        n_before: how many wait before it, where it waits.
    """
    if line.state == "waiting":
        return f"waiting #{n_before + 1}"
    words: dict[LineState, str] = {
        "running": "pulling" if line.kind == "pull" else "pushing",
        "done": "pulled" if line.kind == "pull" else "pushed",
    }
    return words.get(line.state, line.state)


def size_text(line: PullLine) -> str:
    """ "9.9 of 16.4 GB", or the one number that is known."""
    if not line.total_bytes:
        return "–"
    total = bytes_text(line.total_bytes)
    if line.state == "done" or line.completed_bytes >= line.total_bytes:
        return total
    completed = bytes_text(line.completed_bytes)
    number, _, unit = completed.partition(" ")
    return f"{number if total.endswith(' ' + unit) else completed} of {total}"


def speed_text(line: PullLine) -> str:
    """Bytes a second, "–" for none."""
    return f"{bytes_text(line.bytes_per_s)}/s" if line.bytes_per_s >= 1 else "–"


def eta_text(line: PullLine) -> str:
    """Time that is left at the present rate, "–" when it cannot be told."""
    if line.state != "running" or line.remaining_s is None:
        return "–"
    return countdown_text(line.remaining_s)


def limit_text(bytes_per_s: int) -> str:
    """A limit, "–" for none."""
    return f"{bytes_text(bytes_per_s)}/s" if bytes_per_s else "–"


def share_bar(line: PullLine, width: int, glyphs: Glyphs = UNICODE) -> Row:
    """How much is there, in one colour: to be full is what a download is for."""
    n_full = min(width, max(int(line.fraction * width), line.fraction > 0))
    full = Span(glyphs.full * n_full, _ROLES[line.state])
    return row(full, Span(glyphs.empty * (width - n_full), "faint"))


def title_note(listed: TransferList, lines: Sequence[PullLine]) -> str:
    """What stands beside the pane's title."""
    counts = (
        (sum(line.state == "running" for line in lines), "running"),
        (sum(line.state == "waiting" for line in lines), "waiting"),
        (sum(line.state == "paused" for line in lines), "paused"),
        (sum(line.state == "unfinished" for line in lines), "unfinished"),
    )
    words = [f"{count} {word}" for count, word in counts if count]
    if listed.limit_bytes_per_s:
        words.append(f"limit {limit_text(listed.limit_bytes_per_s)}")
    return " · ".join(words)


def rail_rows(lines: Sequence[PullLine], width: int, n_rows: int, glyphs: Glyphs = UNICODE) -> list[Row]:
    """What is under way in narrow lines: name, bar, share, and rate with the time left or the state."""
    tail_width = 16
    rows: list[Row] = []
    waiting = places(lines)
    for line in [line for line in lines if line.is_under_way][:n_rows]:
        place = waiting.get(line.key, 0)
        tail = f"{speed_text(line)} {eta_text(line)}" if line.state == "running" else state_text(line, place)
        share = percent_text(line.fraction) if line.total_bytes else "   –"
        bar_width = 6 if width < 44 else 10
        name_width = max(4, width - bar_width - tail_width - 8)
        rows.append(
            fit_row(
                (
                    glyph_for(line, glyphs),
                    Span(" " + fit(line.model, name_width) + " "),
                    *share_bar(line, bar_width, glyphs),
                    Span(f" {share}", "muted"),
                    Span(fit(tail, tail_width, "right"), "muted"),
                ),
                width,
            )
        )
    return rows


# --- what users type ---

MAX_SUGGESTED = 6


def suggestions(
    lines: Sequence[PullLine],
    used: Sequence[str],
    stored: Collection[str],
    devices: Sequence[DeviceSnapshot],
) -> list[tuple[str, str]]:
    """(name, what is known of it) of models that could be pulled: those that this server has heard of.

    A list of names from elsewhere would grow old and promise what a registry may not have.

    Args:
        used: models of chats.
        stored: names that are in the store already.
    """
    found: dict[str, str] = {}
    for line in lines:
        if line.can("again") and line.kind == "pull" and line.model not in stored:
            known = [bytes_text(line.total_bytes)] if line.total_bytes else []
            known += [word] if (word := fit_by_size(line.total_bytes, devices)) else []
            found.setdefault(line.model, ", ".join((*known, line.state)))
    for name in used:
        if name and name not in stored:
            found.setdefault(name, "used in a chat")
    return list(found.items())[:MAX_SUGGESTED]


def fit_by_size(size_bytes: int, devices: Sequence[DeviceSnapshot]) -> str:
    """ "fits", "partly fits" or "does not fit", "" where nothing tells."""
    if not size_bytes:
        return ""
    words = {"fits": "fits", "partly": "partly fits", "no": "does not fit"}
    return words.get(fit_word(needed_bytes(size_bytes, None, 0), devices), "")


def name_problem(text: str) -> str:
    """Why this is no name of a model to pull, "" when it is one."""
    if not text.strip():
        return "a name is needed, such as llama3.2:3b or hf.co/USER/REPOSITORY"
    try:
        base, source = split_source(text)
        if source == "cloud":
            return "models of a cloud are not run by olla"
        ModelName.parse(base if source else text.strip())
    except InvalidModelName:
        return "this is no model's name: HOST/NAMESPACE/MODEL:TAG, all but the model may be left out"
    return ""


def read_limit(text: str) -> int:
    """Bytes a second of a typed limit, 0 for none. Raises: ValueError with a sentence."""
    if text.strip().lower() in NO_LIMIT_WORDS:
        return 0
    return parse_rate(text)


def typed_limit(bytes_per_s: int) -> str:
    """A limit as `read_limit` takes it, "" for none."""
    for unit, factor in (("GB", 1000**3), ("MB", 1000**2), ("KB", 1000)):
        if bytes_per_s and bytes_per_s % factor == 0:
            return f"{bytes_per_s // factor}{unit}/s"
    return str(bytes_per_s) if bytes_per_s else ""


def limit_problem(text: str) -> str:
    """Why this is no limit, "" when it is one."""
    try:
        read_limit(text)
    except ValueError as error:
        return str(error)
    return ""


def ended_words(before: TransferList, after: TransferList) -> list[tuple[str, str]]:
    """(sentence, severity) of each transfer that was under way and has ended since."""
    was = {info.id for info in before.transfers if info.state in UNDER_WAY}
    told: list[tuple[str, str]] = []
    for info in after.transfers:
        if info.id in was and info.state == "done":
            told.append((f"{info.model} is {'pulled' if info.kind == 'pull' else 'pushed'}", "information"))
        elif info.id in was and info.state == "failed":
            told.append((f"{info.kind} of {info.model} failed: {info.status}", "error"))
    return told
