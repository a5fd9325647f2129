from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from server.errors import StoreError
from server.storage.response_store import MAX_AGE_S, ResponseStore
from server.types.responses import KeptResponse


def response(id: str, previous: str | None = None, text: str = "", **fields: Any) -> KeptResponse:
    return KeptResponse({"id": id, "previous_response_id": previous, **fields}, [{"text": text}])


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


def store(folder: Path, clock: Clock | None = None, **bounds: int) -> ResponseStore:
    return ResponseStore(folder / "deep" / "responses.sqlite", clock=clock or Clock(), **bounds)


def test_what_is_kept_is_there_for_another_process_and_private(tmp_path: Path) -> None:
    kept = response("a", "b", "ä", status="in_progress")
    store(tmp_path).keep(kept)
    assert store(tmp_path).get("a") == kept
    assert store(tmp_path).get("b") is None
    mode = (tmp_path / "deep" / "responses.sqlite").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_later_state_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.keep(response("a", status="in_progress"))
    kept.keep(response("a", status="completed"))
    found = kept.get("a")
    assert found is not None
    assert found.body["status"] == "completed"
    assert kept.delete("a")
    assert not kept.delete("a")
    assert kept.get("a") is None


def test_what_is_forgotten_leaves_no_trace(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.keep(response("a", text="secret" * 1000))
    path = tmp_path / "deep" / "responses.sqlite"
    assert b"secret" in path.read_bytes()
    kept.delete("a")
    assert b"secret" not in path.read_bytes()


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    kept = store(tmp_path, max_responses=3)
    for index in range(6):
        kept.keep(response(str(index)))
    assert [index for index in range(6) if kept.get(str(index))] == [3, 4, 5]


def test_the_oldest_go_when_there_is_too_much_but_never_the_newest(tmp_path: Path) -> None:
    kept = store(tmp_path, max_bytes=1000)
    for name in "abc":
        kept.keep(response(name, text="x" * 300))
    assert [name for name in "abc" if kept.get(name)] == ["b", "c"]
    kept.keep(response("d", text="x" * 5000))
    assert [name for name in "abcd" if kept.get(name)] == ["d"]


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    clock = Clock()
    kept = store(tmp_path, clock)
    kept.keep(response("old"))
    clock.now += MAX_AGE_S + 10
    kept.keep(response("new"))
    assert kept.get("old") is None


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "responses.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match="kept responses cannot be used") as caught:
        store(tmp_path).keep(response("a"))
    assert str(path) in caught.value.hint
