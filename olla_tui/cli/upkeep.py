"""`olla gc` and `olla fsck`: what no model needs, and what is broken in the store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from olla_tui.cli.addressed import client_settings
from olla_tui.cli.human import human_bytes, human_duration
from olla_tui.cli.progress import Progress
from olla_tui.cli.tables import table
from olla_tui.client.launch import ensure_server
from olla_tui.client.remote import RemoteServices
from server.errors import InvalidRequest
from server.types.durations import parse_go_duration
from server.types.upkeep import CheckProgress, Fault, GarbageItem, GarbageReport

_DAY_S = 24 * 3600.0
_LINE_WIDTH = 200
"""Names of blobs are longer than a cell usually is; a reason wraps."""


def read_age(text: str) -> float | None:
    """Seconds of an age, None for none: a duration as Go writes it, or whole days such as "7d".

    Raises: InvalidRequest.
    """
    if not text:
        return None
    try:
        days = text.removesuffix("d")
        age_s = int(days) * _DAY_S if days != text and days.isascii() and days.isdigit() else None
        age_s = parse_go_duration(text) if age_s is None else age_s
    except ValueError:
        age_s = -1.0
    if age_s < 0:
        raise InvalidRequest(f'invalid argument "{text}" for "--age" flag: use 30m, 12h or 7d')
    return age_s


def collect_garbage(age_s: float | None, *, dry_run: bool) -> None:
    """Print what was removed, or with `dry_run` what would be, and what stays for now."""
    settings = client_settings()
    ensure_server(settings)
    report = asyncio.run(_collect(settings.base_url, age_s, dry_run))
    sys.stdout.write(describe_report(report))


async def _collect(base_url: str, age_s: float | None, dry_run: bool) -> GarbageReport:
    services = RemoteServices.at(base_url)
    try:
        return await services.upkeep.collect_garbage(age_s, dry_run=dry_run)
    finally:
        await services.aclose()


def describe_report(report: GarbageReport) -> str:
    """A table of what goes, a line of its size, and lines about what stays. Pure."""
    lines = []
    if report.items:
        header = ("KIND", "SIZE", "AGE", "OWNER", "REASON", "NAME")
        lines.append(table(header, [garbage_row(item) for item in report.items], cell_width=_LINE_WIDTH))
        size = human_bytes(report.size_bytes)
        count = _count(len(report.items), "item")
        lines.append(
            f"{count}, {size}. Nothing was removed.\n" if report.is_dry_run else f"Removed {count}, {size}.\n"
        )
    else:
        lines.append("Nothing to remove.\n")
    for reason, items in _by_reason(report.kept).items():
        size = human_bytes(sum(item.size_bytes for item in items))
        kinds = " and ".join(sorted({f"{item.kind}s" for item in items}))
        lines.append(f"Kept {len(items)} {kinds}, {size}: {reason}.\n")
    if report.note and not report.kept:
        lines.append(f"No blobs are removed: {report.note}.\n")
    return "".join(lines)


def garbage_row(item: GarbageItem) -> list[str]:
    """The cells of an item. Pure."""
    name = f"{item.name} ({item.what})" if item.what else item.name
    age = human_duration(item.age_s).lower()
    return [item.kind, human_bytes(item.size_bytes), age, item.owner, item.reason, name]


def _by_reason(items: Iterable[GarbageItem]) -> dict[str, list[GarbageItem]]:
    groups: dict[str, list[GarbageItem]] = {}
    for item in items:
        groups.setdefault(item.reason, []).append(item)
    return groups


def check_store(*, quick: bool) -> bool:
    """Print every fault and a line of how many there are; whether nothing is broken."""
    settings = client_settings()
    ensure_server(settings)
    faults = asyncio.run(_check(settings.base_url, quick))
    for fault in faults:
        sys.stdout.write(describe_fault(fault))
    print(verdict(faults))
    return not any(fault.severity == "error" for fault in faults)


async def _check(base_url: str, quick: bool) -> list[Fault]:
    services = RemoteServices.at(base_url)
    faults: list[Fault] = []
    try:
        async with Progress(sys.stderr) as progress:
            async with aclosing(services.upkeep.check(quick=quick)) as steps:
                async for step in steps:
                    _tell(progress, step)
                    if step.fault is not None:
                        faults.append(step.fault)
            progress.clear()
    finally:
        await services.aclose()
    return faults


def _tell(progress: Progress, step: CheckProgress) -> None:
    if step.total_bytes:
        progress.item(step.status, step.status, step.completed_bytes, step.total_bytes)
    else:
        progress.step(step.status)


def describe_fault(fault: Fault) -> str:
    """A fault in two lines: where and what, then whom it breaks and what to do. Pure."""
    text = f"{fault.severity}: {fault.place}: {fault.what}\n"
    parts = [f"breaks {', '.join(fault.models)}"] if fault.models else []
    parts += [fault.advice] if fault.advice else []
    return text + (f"    {'. '.join(parts)}\n" if parts else "")


def verdict(faults: Sequence[Fault]) -> str:
    """How it stands, in one line. Pure."""
    n_errors = sum(fault.severity == "error" for fault in faults)
    n_warnings = len(faults) - n_errors
    if not faults:
        return "The store is whole."
    counts = [_count(n_errors, "error")] if n_errors else ["Nothing is broken"]
    if n_warnings:
        counts.append(_count(n_warnings, "warning"))
    return f"{', '.join(counts)}."


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
