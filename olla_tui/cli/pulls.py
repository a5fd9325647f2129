"""`olla pulls` and `olla list --partials`: what is being fetched, and what was left unfinished."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from olla_tui.cli.human import human_bytes, human_duration
from olla_tui.cli.models import N_ID_CHARS, connect
from olla_tui.cli.tables import table
from olla_tui.client.plain import PlainClient
from server.errors import InvalidRequest, NotFound
from server.types.setting_values import parse_rate

Json = dict[str, Any]

_UNDER_WAY = ("waiting", "running", "paused")
_MIN_DIGEST_CHARS = 6
_LINE_WIDTH = 80
USAGE = "Use pause, resume, cancel or first with a MODEL or ID, limit RATE [MODEL], or discard MODEL."


def run_pulls(words: Sequence[str]) -> None:
    """List transfers, or change one. Raises: InvalidRequest, NotFound, what the server says."""
    client = connect()
    match list(words):
        case []:
            sys.stdout.write(describe_transfers(client.call("GET", "/olla/transfers")))
        case ["pause" | "resume" | "cancel" as action, wanted]:
            transfer = find_transfer(client, wanted)
            client.call("POST", f"/olla/transfers/{transfer['id']}/{action}", {})
        case ["first", wanted]:
            transfer = find_transfer(client, wanted)
            client.call("POST", f"/olla/transfers/{transfer['id']}/move", {"position": 0})
        case ["limit", rate, *rest] if len(rest) <= 1:
            body: Json = {"limit_bytes_per_s": _read_rate(rate)}
            body |= {"id": find_transfer(client, rest[0])["id"]} if rest else {}
            client.call("POST", "/olla/transfers/limit", body)
        case ["discard", wanted]:
            discard(client, wanted)
        case _:
            raise InvalidRequest(f"'olla pulls {' '.join(words)}' is not known", hint=USAGE)


def list_partials(prefix: str) -> None:
    """Print the unfinished downloads of models whose names begin with `prefix`."""
    found = connect().call("GET", "/olla/partials")
    wanted = [partial for partial in found if partial["model"].lower().startswith(prefix.lower())]
    sys.stdout.write(describe_partials(wanted, time.time()))


def describe_transfers(listed: Json) -> str:
    """A table of all transfers and a line about the limit that they share. Pure."""
    rows = [_transfer_row(transfer) for transfer in listed["transfers"]]
    text = table(("ID", "MODEL", "STATE", "DONE", "RATE", "LEFT"), rows, cell_width=_LINE_WIDTH)
    limit = listed["limit_bytes_per_s"]
    return text + (f"All together at most {human_bytes(limit)}/s.\n" if limit else "")


def _transfer_row(transfer: Json) -> list[str]:
    rate, left_s, limit = transfer["bytes_per_s"], transfer["remaining_s"], transfer["limit_bytes_per_s"]
    state = transfer["state"]
    shown_rate = f"{human_bytes(int(rate))}/s" if state == "running" and rate else "-"
    return [
        str(transfer["id"]),
        transfer["model"] if transfer["kind"] == "pull" else f"{transfer['model']} (push)",
        f"{state}: {transfer['status']}" if state == "failed" else state,
        _share(transfer["completed_bytes"], transfer["total_bytes"]),
        f"{shown_rate} (at most {human_bytes(limit)}/s)" if limit else shown_rate,
        human_duration(left_s).lower() if state == "running" and left_s is not None else "-",
    ]


def describe_partials(partials: Sequence[Json], now_s: float) -> str:
    """A table of unfinished downloads, and what can be done about them. Pure."""
    rows = [
        [
            partial["model"] or "-",
            partial["digest"].removeprefix("sha256:")[:N_ID_CHARS],
            human_bytes(partial["size_bytes"]),
            _share(partial["completed_bytes"], partial["total_bytes"]),
            f"{human_duration(max(now_s - partial['modified_at'], 0.0)).lower()} ago",
            _resume_hint(partial),
        ]
        for partial in partials
    ]
    header = ("MODEL", "BLOB", "ON DISK", "DONE", "MODIFIED", "GOES ON WITH")
    text = table(header, rows, cell_width=_LINE_WIDTH)
    if any(not partial["is_in_use"] and partial["program"] == "olla" for partial in partials):
        text += "Remove one by 'olla pulls discard MODEL'; what is a week old goes with 'olla gc'.\n"
    return text


def _resume_hint(partial: Json) -> str:
    if partial["is_in_use"]:
        return "(being fetched)"
    if partial["program"] != "olla":
        return f"a pull of its model, by {partial['program']} or olla"
    return f"olla pull {partial['model']}" if partial["model"] else "a pull of its model"


def find_transfer(client: PlainClient, wanted: str) -> Json:
    """The transfer under way of that number, or of that model. Raises: NotFound."""
    transfers: list[Json] = client.call("GET", "/olla/transfers")["transfers"]
    under_way = [transfer for transfer in transfers if transfer["state"] in _UNDER_WAY]
    for transfer in under_way:
        if wanted == str(transfer["id"]) or is_model(transfer["model"], wanted):
            return transfer
    raise NotFound(f"no transfer of {wanted!r} is under way", hint="See 'olla pulls'.")


def is_model(name: str, wanted: str) -> bool:
    """Whether somebody who writes `wanted` means the model of that name. Pure."""
    return name.lower() in (wanted.lower(), f"{wanted.lower()}:latest")


def discard(client: PlainClient, wanted: str) -> None:
    """Remove what was fetched of a model, or one blob by the first digits of its digest."""
    found = matching_partials(client.call("GET", "/olla/partials"), wanted)
    if not found:
        raise NotFound(f"nothing unfinished is there of {wanted!r}", hint="See 'olla list --partials'.")
    for partial in found:
        client.call("POST", f"/olla/partials/{quote(partial['digest'], safe='')}/remove", {})
        digits = partial["digest"].removeprefix("sha256:")[:N_ID_CHARS]
        print(f"removed {digits}, {human_bytes(partial['size_bytes'])}")


def matching_partials(partials: Iterable[Json], wanted: str) -> list[Json]:
    """The unfinished downloads that are meant: of a model, or of a blob by its digits. Pure."""
    partials = list(partials)
    named = [partial for partial in partials if partial["model"] and is_model(partial["model"], wanted)]
    digits = wanted.lower().removeprefix("sha256:")
    if named or len(digits) < _MIN_DIGEST_CHARS:
        return named
    return [partial for partial in partials if partial["digest"].startswith(f"sha256:{digits}")]


def _share(completed_bytes: int, total_bytes: int) -> str:
    if not total_bytes:
        return "-"
    return f"{completed_bytes * 100 // total_bytes}% of {human_bytes(total_bytes)}"


def _read_rate(text: str) -> int:
    try:
        return parse_rate(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no rate: {error}", hint="0 lifts the limit.") from None
