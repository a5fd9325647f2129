"""What `olla gc` and `olla fsck` print."""

from __future__ import annotations

import re

import pytest

from olla_tui.cli.upkeep import describe_fault, describe_report, read_age, verdict
from server.errors import InvalidRequest
from server.types.upkeep import Fault, GarbageItem, GarbageReport

ITEM = GarbageItem(
    kind="blob",
    name="blobs/sha256-1",
    what="weights: llama, 7B, Q4_K_M",
    size_bytes=4_100_000_000,
    age_s=7200,
    owner="me",
    reason="no model needs it",
)
ERROR = Fault(severity="error", place="blobs/x", what="is missing", models=("m:1", "n:1"), advice="Pull it.")


@pytest.mark.parametrize(
    ("text", "seconds"), [("", None), ("7d", 604800.0), ("30m", 1800.0), ("0", 0.0), ("1h30m", 5400.0)]
)
def test_ages(text: str, seconds: float | None) -> None:
    assert read_age(text) == seconds


@pytest.mark.parametrize("text", ["d", "-1h", "1.5d", "7 d", "soon", "²d"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(InvalidRequest, match="use 30m, 12h or 7d"):
        read_age(text)


def test_a_report_lists_what_went_and_what_stays() -> None:
    kept = GarbageItem(kind="partial", name="p", size_bytes=9, age_s=1, reason="younger than 7 days")
    lines = describe_report(GarbageReport(items=(ITEM,), kept=(kept, kept))).splitlines()
    assert lines[0].split() == ["KIND", "SIZE", "AGE", "OWNER", "REASON", "NAME"]
    assert re.split(" {2,}", lines[1]) == [
        "blob",
        "4.1 GB",
        "2 hours",
        "me",
        "no model needs it",
        "blobs/sha256-1 (weights: llama, 7B, Q4_K_M)",
        "",
    ]
    assert lines[2:] == ["Removed 1 item, 4.1 GB.", "Kept 2 partials, 18 B: younger than 7 days."]


def test_a_dry_run_says_that_nothing_was_removed() -> None:
    text = describe_report(GarbageReport(items=(ITEM,), is_dry_run=True))
    assert text.endswith("1 item, 4.1 GB. Nothing was removed.\n")


def test_an_empty_report() -> None:
    assert describe_report(GarbageReport()) == "Nothing to remove.\n"
    assert describe_report(GarbageReport(note="the store has no manifests")).endswith(
        "No blobs are removed: the store has no manifests.\n"
    )


def test_a_fault_names_whom_it_breaks_and_what_to_do() -> None:
    assert describe_fault(ERROR) == "error: blobs/x: is missing\n    breaks m:1, n:1. Pull it.\n"
    assert describe_fault(Fault(severity="warning", place="p", what="w")) == "warning: p: w\n"


def test_the_verdict() -> None:
    warning = Fault(severity="warning", place="p", what="w")
    assert verdict([]) == "The store is whole."
    assert verdict([warning, warning]) == "Nothing is broken, 2 warnings."
    assert verdict([ERROR, warning]) == "1 error, 1 warning."
