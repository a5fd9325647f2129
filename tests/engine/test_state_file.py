"""A saved state is read back exactly or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine import state_file
from server.engine.host_cache import SavedState
from server.engine.state_file import (
    KEY_BYTES,
    BadStateFile,
    StateWriter,
    file_size,
    is_abandoned,
    read_head,
    read_state,
    token_digest,
)

KEY = bytes(range(KEY_BYTES))


def random_state(n_tokens: int, n_bytes: int) -> SavedState:
    rng = np.random.default_rng(n_tokens + n_bytes)
    return SavedState(
        rng.integers(0, 1 << 17, n_tokens, np.int32), rng.integers(0, 256, n_bytes, np.uint8, endpoint=False)
    )


def write(path: Path, saved: SavedState, key: bytes = KEY) -> Path:
    writer = StateWriter(path.with_suffix(".tmp"), key, saved)
    while not writer.is_whole:
        writer.write_block()
    writer.commit(path)
    return path


@given(n_tokens=st.integers(0, 50), n_bytes=st.integers(0, 1000), block_bytes=st.integers(1, 300))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, n_tokens: int, n_bytes: int, block_bytes: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_file, "BLOCK_BYTES", block_bytes)
        saved = random_state(n_tokens, n_bytes)
        path = write(tmp_path_factory.mktemp("state") / "a.kv", saved)
        assert path.stat().st_size == file_size(n_tokens, n_bytes)
        again = read_state(path, KEY)
        assert again.tokens.tolist() == saved.tokens.tolist()
        assert again.data.tobytes() == saved.data.tobytes()
        head = read_head(path, KEY)
        assert (head.tokens.tolist(), head.file_bytes) == (saved.tokens.tolist(), path.stat().st_size)


def test_any_flipped_byte_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_file, "BLOCK_BYTES", 100)
    path = write(tmp_path / "a.kv", random_state(20, 250))
    sound = path.read_bytes()
    for position in range(len(sound)):
        spoiled = bytearray(sound)
        spoiled[position] ^= 1 << position % 8
        path.write_bytes(spoiled)
        with pytest.raises(BadStateFile):
            read_state(path, KEY)


def test_any_cut_or_longer_file_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.kv", random_state(20, 250))
    sound = path.read_bytes()
    for spoiled in [*(sound[:n] for n in range(len(sound))), sound + b"\0", sound * 2]:
        path.write_bytes(spoiled)
        with pytest.raises(BadStateFile):
            read_head(path, KEY)
        with pytest.raises(BadStateFile):
            read_state(path, KEY)


@given(data=st.binary(max_size=400))
def test_foreign_bytes_are_noticed(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("state") / "a.kv"
    for content in (data, b"ollakv\r\n" + data):
        path.write_bytes(content)
        with pytest.raises(BadStateFile):
            read_head(path, KEY)


def test_a_state_of_another_key_or_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.kv", random_state(3, 10), key=bytes(KEY_BYTES))
    with pytest.raises(BadStateFile, match="another model"):
        read_state(path, KEY)
    monkeypatch.setattr(state_file, "FORMAT_VERSION", 99)
    with pytest.raises(BadStateFile, match="format is 1"):
        read_state(path, bytes(KEY_BYTES))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    sound = write(tmp_path / "a.kv", random_state(3, 10))
    os.mkfifo(tmp_path / "pipe.kv")
    (tmp_path / "folder.kv").mkdir()
    (tmp_path / "link.kv").symlink_to(sound)
    for name in ("pipe.kv", "folder.kv", "link.kv"):
        with pytest.raises(BadStateFile, match="no file"):
            read_head(tmp_path / name, KEY)


def test_nobody_else_may_read_a_state(tmp_path: Path) -> None:
    path = write(tmp_path / "a.kv", random_state(3, 10))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_has_its_size_and_a_lock_while_it_is_written(tmp_path: Path) -> None:
    temporary = tmp_path / "a.tmp"
    writer = StateWriter(temporary, KEY, random_state(3, 10))
    assert temporary.stat().st_size == file_size(3, 10)
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert not is_abandoned(temporary)
    writer.abandon()
    assert list(tmp_path.iterdir()) == []
    temporary.write_bytes(b"left over")
    assert is_abandoned(temporary)


def test_tokens_have_names_of_their_own() -> None:
    assert token_digest(np.array([1, 2], np.int32)) == token_digest(np.array([1, 2], np.int32))
    assert token_digest(np.array([1, 2], np.int32)) != token_digest(np.array([2, 1], np.int32))
