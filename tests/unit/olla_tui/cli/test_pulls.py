"""`olla pulls` and `olla list --partials`: what they print, and what they ask of the server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from olla_tui.cli.main import run_command
from olla_tui.cli.pulls import describe_partials, describe_transfers, is_model, matching_partials
from tests.support.json_server import JsonServer, Reply


def transfer(number: int, model: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "kind": "pull",
        "model": model,
        "state": state,
        "status": "",
        "total_bytes": 0,
        "completed_bytes": 0,
        "bytes_per_s": 0.0,
        "remaining_s": None,
        "limit_bytes_per_s": 0,
        **more,
    }


def partial(digit: str, model: str, **more: Any) -> dict[str, Any]:
    return {
        "digest": f"sha256:{digit * 64}",
        "model": model,
        "total_bytes": 4_000_000_000,
        "completed_bytes": 1_000_000_000,
        "size_bytes": 1_100_000_000,
        "modified_at": time.time() - 7200,
        "is_in_use": False,
        "program": "olla",
        **more,
    }


LISTED = {
    "transfers": [
        transfer(
            3,
            "a:latest",
            "running",
            total_bytes=2_000_000,
            completed_bytes=500_000,
            bytes_per_s=1e5,
            remaining_s=15.0,
        ),
        transfer(4, "b:1", "waiting", limit_bytes_per_s=5_000_000),
        transfer(2, "c:latest", "failed", kind="push", status="no route"),
    ],
    "limit_bytes_per_s": 7_000_000,
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JsonServer]:
    with JsonServer({"GET /olla/transfers": Reply(body=LISTED)}).running() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


def cells(line: str) -> list[str]:
    return re.split(" {2,}", line.rstrip())


def test_transfers_are_listed_with_what_is_known_of_each() -> None:
    lines = describe_transfers(LISTED).splitlines()
    assert [cells(line) for line in lines[:4]] == [
        ["ID", "MODEL", "STATE", "DONE", "RATE", "LEFT"],
        ["3", "a:latest", "running", "25% of 2 MB", "100 KB/s", "15 seconds"],
        ["4", "b:1", "waiting", "-", "- (at most 5 MB/s)", "-"],
        ["2", "c:latest (push)", "failed: no route", "-", "-", "-"],
    ]
    assert lines[4:] == ["All together at most 7 MB/s."]


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["pause", "a"], "/olla/transfers/3/pause", {}),
        (["resume", "A:latest"], "/olla/transfers/3/resume", {}),
        (["cancel", "4"], "/olla/transfers/4/cancel", {}),
        (["first", "b:1"], "/olla/transfers/4/move", {"position": 0}),
        (["limit", "5MB/s"], "/olla/transfers/limit", {"limit_bytes_per_s": 5_000_000}),
        (["limit", "0", "a"], "/olla/transfers/limit", {"limit_bytes_per_s": 0, "id": 3}),
    ],
)
def test_a_transfer_is_steered(server: JsonServer, words: list[str], path: str, body: dict[str, Any]) -> None:
    server.replies[f"POST {path}"] = Reply(body={})
    assert run_command(["pulls", *words]) == 0
    assert (server.asked[-1].path, server.asked[-1].body) == (path, body)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["pause"], "is not known. Use pause"),
        (["stop", "a"], "is not known. Use pause"),
        (["pause", "c"], "no transfer of 'c' is under way"),
        (["limit", "fast"], "'fast' is no rate"),
    ],
)
def test_what_cannot_be_meant_is_said(
    server: JsonServer, capsys: pytest.CaptureFixture[str], words: list[str], error: str
) -> None:
    assert run_command(["pulls", *words]) == 1
    assert error in capsys.readouterr().err
    assert all(asked.method == "GET" for asked in server.asked)


def test_unfinished_downloads_are_listed_with_how_they_go_on() -> None:
    found = [
        partial("a", "m:latest"),
        partial("b", "", total_bytes=0),
        partial("c", "", program="Ollama"),
        partial("d", "n:1", is_in_use=True),
    ]
    lines = describe_partials(found, time.time()).splitlines()
    assert [cells(line) for line in lines[:5]] == [
        ["MODEL", "BLOB", "ON DISK", "DONE", "MODIFIED", "GOES ON WITH"],
        ["m:latest", "a" * 12, "1.1 GB", "25% of 4 GB", "2 hours ago", "olla pull m:latest"],
        ["-", "b" * 12, "1.1 GB", "-", "2 hours ago", "a pull of its model"],
        ["-", "c" * 12, "1.1 GB", "25% of 4 GB", "2 hours ago", "a pull of its model, by Ollama or olla"],
        ["n:1", "d" * 12, "1.1 GB", "25% of 4 GB", "2 hours ago", "(being fetched)"],
    ]
    assert lines[5:] == ["Remove one by 'olla pulls discard MODEL'; what is a week old goes with 'olla gc'."]
    assert len(describe_partials([], time.time()).splitlines()) == 1


def test_what_is_unfinished_is_removed_by_model_or_by_blob(
    server: JsonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [partial("a", "m:latest"), partial("b", "m:latest"), partial("c", "")]
    server.replies["GET /olla/partials"] = Reply(body=found)
    for digit in "abc":
        server.replies[f"POST /olla/partials/sha256%3A{digit * 64}/remove"] = Reply(body={})
    assert run_command(["pulls", "discard", "m"]) == 0
    assert [asked.path[-12:-7] for asked in server.asked if asked.method == "POST"] == ["aaaaa", "bbbbb"]
    assert capsys.readouterr().out == f"removed {'a' * 12}, 1.1 GB\nremoved {'b' * 12}, 1.1 GB\n"
    assert run_command(["pulls", "discard", "ccccccc"]) == 0
    assert run_command(["pulls", "discard", "x"]) == 1
    assert "nothing unfinished is there of 'x'" in capsys.readouterr().err
    assert run_command(["list", "--partials", "M"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_few_digits_mean_no_blob() -> None:
    assert matching_partials([partial("a", "")], "aaaaa") == []
    assert len(matching_partials([partial("a", "")], "SHA256:aaaaaa")) == 1


def test_a_tag_that_is_not_said_is_latest() -> None:
    assert is_model("host/Me/m:latest", "host/me/M") and is_model("m:1", "m:1")
    assert not is_model("m:1", "m") and not is_model("m:latest", "")
