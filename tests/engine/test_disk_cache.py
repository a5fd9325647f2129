"""Saved states in a folder that several workers share: bounded, private, and harmless when damaged."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from server.engine import state_file
from server.engine.batch import TokenArray
from server.engine.disk_cache import FREE_DISK_SHARE, LOCKED_PAUSE_S, PAUSE_S, DiskCache
from server.engine.host_cache import SavedState
from server.engine.state_file import KEY_BYTES, StateWriter, file_size
from server.engine.state_policy import replaces

KEY = bytes(range(KEY_BYTES))
OTHER_KEY = bytes(KEY_BYTES)
LIMIT = 3000


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Cache(NamedTuple):
    """A cache with what it logged and the clock it looks at."""

    disk: DiskCache
    log: list[str]
    clock: Clock


def open_cache(
    folder: Path, key: bytes = KEY, limit_bytes: int = LIMIT, *, whole_only: bool = False
) -> Cache:
    log: list[str] = []
    clock = Clock()
    disk = DiskCache(
        folder,
        key,
        limit_bytes,
        whole_only=whole_only,
        log=lambda level, text: log.append(f"{level}: {text}"),
        clock=clock,
    )
    return Cache(disk, log, clock)


def saved(tokens: list[int], n_bytes: int = 100) -> SavedState:
    data = np.full(n_bytes, sum(tokens) % 251, np.uint8)
    return SavedState(np.array(tokens, np.int32), data)


def array(*tokens: int) -> TokenArray:
    return np.array(tokens, np.int32)


def write(disk: DiskCache, state: SavedState) -> bool:
    writer = disk.begin(state)
    while writer is not None:
        if not disk.write_block(writer):
            return False
        if writer.is_whole:
            return True
    return False


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")


def held(disk: DiskCache) -> list[list[int]]:
    return sorted(state.tokens.tolist() for state in disk.states())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "kv"


def test_what_one_worker_writes_another_reads(folder: Path) -> None:
    first, second = open_cache(folder).disk, open_cache(folder).disk
    assert second.states() == []
    state = saved([1, 2, 3])
    assert write(first, state)
    (found,) = second.states()
    again = second.read(found)
    assert again is not None
    assert (again.tokens.tolist(), again.data.tobytes()) == ([1, 2, 3], state.data.tobytes())
    assert open_cache(folder, OTHER_KEY).disk.states() == []


def test_nobody_else_may_look(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    write(open_cache(folder).disk, saved([1, 2, 3]))
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_longer_state_replaces_its_beginning(folder: Path) -> None:
    disk = open_cache(folder).disk
    for tokens in ([1, 2], [1, 3], [1, 2, 3]):
        write(disk, saved(tokens))
    assert held(disk) == [[1, 2, 3], [1, 3]]
    write(disk, saved([1, 2, 3, 4]))
    write(disk, saved([1, 2, 3, 5]))
    assert held(disk) == [[1, 2, 3, 5], [1, 3]], "only the last of four tokens differs"
    write(disk, saved([1, 2, 3]))
    assert held(disk) == [[1, 2, 3], [1, 3]]
    assert disk.n_covered(array(1, 2)) == 2
    assert disk.n_covered(array(1, 2, 9)) == 2
    assert disk.n_covered(array(1, 2, 3, 4)) == 3
    assert disk.n_covered(array(7)) == 0


def test_states_that_cannot_be_cut_stay_side_by_side(folder: Path) -> None:
    disk = open_cache(folder, whole_only=True).disk
    for tokens in ([1, 2], [1, 2, 3]):
        write(disk, saved(tokens))
    assert held(disk) == [[1, 2], [1, 2, 3]]
    assert disk.n_covered(array(1, 2, 3)) == 3
    assert disk.n_covered(array(1, 2, 9)) == 2
    assert disk.n_covered(array(1)) == 0


def test_the_least_recently_used_goes_first_of_all_models(folder: Path) -> None:
    one, other = open_cache(folder).disk, open_cache(folder, OTHER_KEY).disk
    for age, (disk, token) in enumerate([(other, 1), (one, 2), (one, 3)]):
        write(disk, saved([token], 800))
        path = max(files(folder), key=lambda path: path.stat().st_mtime_ns)
        os.utime(path, (age, age))
    (first,) = other.states()
    assert other.read(first) is not None
    write(one, saved([4], 800))
    assert held(one) == [[3], [4]]
    assert held(other) == [[1]]
    write(one, saved([5], 2500))
    assert held(one) == [[5]]
    assert held(other) == []
    assert sum(path.stat().st_size for path in files(folder)) <= LIMIT
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [KEY.hex()[:32]]


def test_a_state_larger_than_the_bound_is_not_written(folder: Path) -> None:
    cache = open_cache(folder)
    write(cache.disk, saved([1]))
    assert cache.disk.begin(saved([2], LIMIT)) is None
    assert held(cache.disk) == [[1]]
    assert cache.disk.paused_s == 0


def test_at_most_a_tenth_of_the_free_disk_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = open_cache(folder, limit_bytes=1 << 40).disk
    size = file_size(1, 500)
    room = 2 * size * FREE_DISK_SHARE

    def usage(path: Path) -> shutil._ntuple_diskusage:
        taken = sum(file.stat().st_size for file in files(folder))
        return shutil._ntuple_diskusage(2 * room, room, room - taken)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for token in range(5):
        assert write(disk, saved([token], 500))
        assert sum(path.stat().st_size for path in files(folder)) <= 2 * size
    assert len(held(disk)) == 2
    assert disk.begin(saved([9], 3 * size)) is None


SPOIL = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "flipped": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "foreign": lambda data: b"#!/bin/sh\n" * 20,
}


@pytest.mark.parametrize("fault", SPOIL)
def test_a_file_that_is_not_sound_is_removed(folder: Path, fault: str) -> None:
    write(open_cache(folder).disk, saved([1, 2, 3]))
    (path,) = files(folder)
    path.write_bytes(SPOIL[fault](path.read_bytes()))
    cache = open_cache(folder)
    assert cache.disk.states() == []
    assert files(folder) == []
    assert "is removed" in cache.log[0]


def test_a_state_that_was_spoiled_after_it_was_listed_is_removed(folder: Path) -> None:
    cache = open_cache(folder)
    write(cache.disk, saved([1, 2, 3]))
    (state,) = cache.disk.states()
    data = bytearray(state.path.read_bytes())
    data[-100] ^= 1
    state.path.write_bytes(data)
    assert cache.disk.read(state) is None
    assert files(folder) == []
    assert cache.disk.states() == []


def test_a_state_that_another_worker_removed_is_not_there(folder: Path) -> None:
    cache = open_cache(folder)
    write(cache.disk, saved([1, 2, 3]))
    (state,) = cache.disk.states()
    state.path.unlink()
    assert cache.disk.read(state) is None
    assert cache.log == []


def test_a_state_under_the_name_of_another_is_removed(folder: Path) -> None:
    cache = open_cache(folder)
    write(cache.disk, saved([1]))
    (state,) = cache.disk.states()
    other = open_cache(folder.parent / "elsewhere")
    write(other.disk, saved([2]))
    shutil.copy(files(folder.parent / "elsewhere")[0], state.path)
    assert cache.disk.read(state) is None
    assert files(folder) == []


def test_what_is_no_state_is_left_alone(folder: Path) -> None:
    disk = open_cache(folder).disk
    write(disk, saved([1]))
    note = folder / KEY.hex()[:32] / "README"
    note.write_text("mine")
    (folder / KEY.hex()[:32] / "folder.kv").mkdir()
    assert held(disk) == [[1]]
    assert note.read_text() == "mine"


# Errors.


@pytest.mark.parametrize("n_before", [0, 1, 2])
def test_a_full_disk_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, n_before: int
) -> None:
    monkeypatch.setattr(state_file, "BLOCK_BYTES", 50)
    cache = open_cache(folder)
    write(cache.disk, saved([1]))
    real, n_writes = os.pwrite, itertools.count()

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if next(n_writes) >= n_before:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        assert not write(cache.disk, saved([2]))
    assert len(files(folder)) == 1
    assert held(cache.disk) == [[1]]
    assert "No space left" in cache.log[0]
    assert cache.disk.begin(saved([2])) is None
    assert 0 < cache.disk.paused_s <= PAUSE_S
    cache.clock.now_s += PAUSE_S + 1
    assert write(cache.disk, saved([2]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_made_pauses_the_cache(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    cache = open_cache(tmp_path / "kv")
    assert cache.disk.begin(saved([1])) is None
    assert cache.disk.states() == []


def test_a_file_in_place_of_the_folder_pauses_the_cache(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("in the way")
    cache = open_cache(tmp_path / "kv")
    assert cache.disk.begin(saved([1])) is None
    assert cache.disk.paused_s > 0
    assert (tmp_path / "kv").read_text() == "in the way"


def test_while_another_worker_makes_room_nothing_is_written(folder: Path) -> None:
    cache = open_cache(folder)
    write(cache.disk, saved([1]))
    with open_cache(folder).disk._locked():
        assert cache.disk.begin(saved([2])) is None
    assert 0 < cache.disk.paused_s <= LOCKED_PAUSE_S
    assert cache.log == []
    cache.clock.now_s += LOCKED_PAUSE_S + 0.1
    assert write(cache.disk, saved([2]))


def test_what_a_killed_worker_left_is_removed_and_what_is_written_is_not(folder: Path) -> None:
    first, second = open_cache(folder).disk, open_cache(folder).disk
    writer = first.begin(saved([1], 1000))
    assert isinstance(writer, StateWriter)
    left = folder / OTHER_KEY.hex()[:32] / "0123.99.tmp"
    left.parent.mkdir()
    left.write_bytes(bytes(500))
    assert write(second, saved([2], 1000))
    assert not left.exists()
    assert second.begin(saved([3], LIMIT - 1100)) is None, "room that is being written to counts"
    while not writer.is_whole:
        first.write_block(writer)
    assert held(second) == [[1], [2]]


def test_a_temporary_file_that_was_taken_away_ends_the_writing(folder: Path) -> None:
    cache = open_cache(folder)
    writer = cache.disk.begin(saved([1]))
    assert writer is not None
    (temporary,) = files(folder)
    temporary.unlink()
    assert not cache.disk.write_block(writer)
    assert files(folder) == []


class DiskCacheMachine(RuleBasedStateMachine):
    """Two workers of one model and one of another use a folder; beside it a list, the oldest first."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp()) / "kv"
        self.caches = [open_cache(self.folder, key).disk for key in (KEY, KEY, OTHER_KEY)]
        self.keys = [KEY, KEY, OTHER_KEY]
        self.model: list[tuple[bytes, tuple[int, ...], int]] = []
        self.times = itertools.count(1)

    def teardown(self) -> None:
        shutil.rmtree(self.folder.parent)

    def _use(self, path: Path) -> None:
        time = next(self.times)
        os.utime(path, (time, time))

    @rule(who=st.integers(0, 2), tokens=st.lists(st.integers(0, 1), max_size=3), n=st.integers(0, 2000))
    def write(self, who: int, tokens: list[int], n: int) -> None:
        disk, key = self.caches[who], self.keys[who]
        size = file_size(len(tokens), n)
        is_written = write(disk, saved(tokens, n))
        assert is_written == (size <= LIMIT)
        if not is_written:
            return
        replaced = [
            entry
            for entry in self.model
            if entry[0] == key and replaces(array(*tokens), array(*entry[1]), whole_only=False)
        ]
        shorter = [entry for entry in replaced if list(entry[1]) != tokens]
        going = shorter + [entry for entry in self.model if entry not in shorter]
        total = sum(entry[2] for entry in going) + size
        while total > LIMIT:
            total -= going.pop(0)[2]
        self.model = [entry for entry in self.model if entry in going and entry not in replaced]
        self.model.append((key, tuple(tokens), size))
        (state,) = (state for state in disk.states() if state.tokens.tolist() == tokens)
        self._use(state.path)

    @rule(who=st.integers(0, 2), index=st.integers(0, 5))
    def read(self, who: int, index: int) -> None:
        states = self.caches[who].states()
        if index < len(states):
            state = states[index]
            again = self.caches[who].read(state)
            assert again is not None
            tokens = state.tokens.tolist()
            assert again.data.tobytes() == saved(tokens, again.data.nbytes).data.tobytes()
            self._use(state.path)
            (entry,) = (
                entry for entry in self.model if (entry[0], list(entry[1])) == (self.keys[who], tokens)
            )
            self.model.remove(entry)
            self.model.append(entry)

    @rule(who=st.integers(0, 2), index=st.integers(0, 5), position=st.integers(0, 10_000))
    def spoil(self, who: int, index: int, position: int) -> None:
        states = self.caches[who].states()
        if index < len(states):
            path, tokens = states[index].path, states[index].tokens.tolist()
            data = bytearray(path.read_bytes())
            data[position % len(data)] ^= 255
            path.write_bytes(data)
            assert self.caches[who].read(states[index]) is None
            self.model = [
                entry for entry in self.model if (entry[0], list(entry[1])) != (self.keys[who], tokens)
            ]

    @rule(who=st.integers(0, 2))
    def restart(self, who: int) -> None:
        self.caches[who] = open_cache(self.folder, self.keys[who]).disk

    @invariant()
    def is_as_the_model(self) -> None:
        assert sum(path.stat().st_size for path in files(self.folder)) <= LIMIT
        for disk, key in zip(self.caches, self.keys, strict=True):
            expected = sorted(list(tokens) for entry_key, tokens, _ in self.model if entry_key == key)
            assert held(disk) == expected


TestDiskCache = DiskCacheMachine.TestCase
TestDiskCache.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
