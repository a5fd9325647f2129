"""States of conversations on disk, so that they outlive the worker; bounded in bytes, the oldest going first.

    FOLDER/KEY/TOKENS.kv       a state; KEY names model and context, TOKENS the tokens that it stands for
    FOLDER/KEY/TOKENS.N.tmp    one that is being written
    FOLDER/lock                held while room is made

Any number of workers share a folder, of the same model or of others. A file is whole or not there under its
name; its modification time is that of its last use. Whatever goes wrong, a prompt is decoded from the start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from server.engine.batch import TokenArray
from server.engine.host_cache import SavedState
from server.engine.state_file import (
    BadStateFile,
    StateHead,
    StateWriter,
    file_size,
    is_abandoned,
    read_head,
    read_state,
    token_digest,
)
from server.engine.state_policy import evictions, is_beginning, n_usable, replaces

FREE_DISK_SHARE: Final = 10
"""All states together take at most this part (one in ten) of the space that would be free without them."""

PAUSE_S: Final = 60.0
"""After an error of the file system nothing is written for so long."""

LOCKED_PAUSE_S: Final = 1.0
"""The same while another worker makes room."""

_SUFFIX: Final = ".kv"
_TEMPORARY: Final = ".tmp"


class DiskState(msgspec.Struct, frozen=True, eq=False):
    """A state on disk that has not been read. `n_bytes`: of its file."""

    path: Path
    tokens: TokenArray
    n_bytes: int


class _File(msgspec.Struct, frozen=True):
    """A file of the folder as the bound sees it. `used_at`: modification time, nanoseconds."""

    path: Path
    n_bytes: int
    used_at: int


class DiskCache:
    """The states of one model and context in a folder that others use as well.

    Attributes:
        whole_only: a state cannot be cut, so none replaces another one.
    """

    def __init__(
        self,
        folder: Path,
        key: bytes,
        limit_bytes: int,
        *,
        whole_only: bool,
        log: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        key: 32 bytes that stand for all that a state depends on.
        log: takes a level and a line.
        """
        self.whole_only = whole_only
        self._root = folder
        self._folder = folder / key.hex()[:32]
        self._key = key
        self._limit_bytes = limit_bytes
        self._log = log
        self._clock = clock
        self._paused_until = 0.0
        self._seen_at = -1
        self._states: dict[Path, DiskState] = {}

    # Reading.

    def states(self) -> list[DiskState]:
        """The states that are there now; files that are none of ours are removed."""
        try:
            changed_at = os.stat(self._folder).st_mtime_ns
        except OSError:
            changed_at = -1
        if changed_at != self._seen_at:
            self._seen_at = changed_at
            found = {path: self._states.get(path) or self._described(path) for path in self._paths()}
            self._states = {path: state for path, state in found.items() if state is not None}
        return list(self._states.values())

    def read(self, state: DiskState) -> SavedState | None:
        """The state itself, which counts as a use. None when its file is gone or not sound any more."""
        try:
            saved = read_state(state.path, self._key)
            if saved.tokens.tobytes() != state.tokens.tobytes():
                raise BadStateFile("it stands for other tokens than its name says")
            os.utime(state.path)
        except (BadStateFile, OSError, MemoryError) as error:
            self._give_up_on(state.path, error)
            return None
        return saved

    def remove(self, state: DiskState) -> None:
        """A state turned out to be of no use."""
        self._give_up_on(state.path, BadStateFile("llama.cpp does not take it"))

    def n_covered(self, tokens: TokenArray) -> int:
        """Tokens at the start of a conversation that some state saves from being decoded."""
        return max(
            (self._n_covered(state.tokens, tokens) for state in self.states()),
            default=0,
        )

    def _n_covered(self, tokens: TokenArray, conversation: TokenArray) -> int:
        if is_beginning(conversation, tokens) and not self.whole_only:
            return len(conversation)
        if len(tokens) == len(conversation) and is_beginning(tokens, conversation):
            return len(conversation)
        return n_usable(tokens, conversation, whole_only=self.whole_only)

    # Writing.

    @property
    def paused_s(self) -> float:
        """How long nothing can be written, seconds."""
        return max(0.0, self._paused_until - self._clock())

    def begin(self, saved: SavedState) -> StateWriter | None:
        """Make room and begin to write; None when there is no room for this one, or `paused_s` is above 0."""
        if self.paused_s > 0:
            return None
        n_bytes = file_size(len(saved.tokens), saved.data.nbytes)
        name = token_digest(saved.tokens)
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._root.chmod(0o700)  # as the folder may be there already
            with self._locked():
                if not self._make_room(n_bytes, replaced=self._replaced_by(saved.tokens)):
                    return None
                self._folder.mkdir(mode=0o700, exist_ok=True)
                return StateWriter(
                    self._folder / f"{name}.{os.urandom(4).hex()}{_TEMPORARY}", self._key, saved
                )
        except OSError as error:
            self._pause(error)
            return None

    def write_block(self, writer: StateWriter) -> bool:
        """Write a part, and after the last one put the file in its place. False: an error ended it."""
        try:
            if not writer.is_whole:
                writer.write_block()
            if writer.is_whole:
                tokens = writer.saved.tokens
                writer.commit(self._folder / f"{token_digest(tokens)}{_SUFFIX}")
                self._seen_at = -1  # a folder's time of change is coarse
                for path in self._replaced_by(tokens):
                    self._unlink(path)
        except OSError as error:
            writer.abandon()
            self._pause(error)
            return False
        return True

    def _replaced_by(self, tokens: TokenArray) -> list[Path]:
        """Files whose states are of little use beside one of `tokens`; not the file that takes its place."""
        if self.whole_only:
            return []
        return [
            state.path
            for state in self.states()
            if len(state.tokens) != len(tokens) or not is_beginning(state.tokens, tokens)
            if replaces(tokens, state.tokens, whole_only=False)
        ]

    def _make_room(self, n_bytes: int, replaced: list[Path]) -> bool:
        files = sorted(self._all_files(), key=lambda file: (file.path not in replaced, file.used_at))
        stored_bytes = sum(file.n_bytes for file in files)
        free_bytes = shutil.disk_usage(self._root).free
        limit_bytes = min(self._limit_bytes, (free_bytes + stored_bytes) // FREE_DISK_SHARE)
        # What others are writing cannot be removed and takes its room away.
        written_bytes = sum(file.n_bytes for file in files if file.path.suffix == _TEMPORARY)
        sizes = [(file.path, file.n_bytes) for file in files if file.path.suffix == _SUFFIX]
        victims = evictions(sizes, n_bytes, limit_bytes - written_bytes)
        for path in victims or ():
            self._unlink(path)
            if path.parent != self._folder:
                with contextlib.suppress(OSError):
                    path.parent.rmdir()
        return victims is not None

    def _all_files(self) -> Iterator[_File]:
        """Files of all models. What a killed worker left is removed."""
        for folder in _entries(self._root):
            if not folder.is_dir(follow_symlinks=False):
                continue
            for entry in _entries(folder.path):
                path = Path(entry.path)
                if path.suffix not in (_SUFFIX, _TEMPORARY):
                    continue
                if path.suffix == _TEMPORARY and is_abandoned(path):
                    self._unlink(path)
                    continue
                with contextlib.suppress(OSError):  # removed by another worker just now
                    status = entry.stat(follow_symlinks=False)
                    yield _File(path, status.st_size, status.st_mtime_ns)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder's lock. Raises: OSError, also when another worker makes room at this moment."""
        fd = os.open(self._root / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(fd)

    # Files.

    def _paths(self) -> list[Path]:
        return [Path(entry.path) for entry in _entries(self._folder) if entry.name.endswith(_SUFFIX)]

    def _described(self, path: Path) -> DiskState | None:
        try:
            head: StateHead = read_head(path, self._key)
        except (BadStateFile, OSError) as error:
            self._give_up_on(path, error)
            return None
        return DiskState(path, head.tokens, head.file_bytes)

    def _give_up_on(self, path: Path, error: Exception) -> None:
        """A file that cannot be used: it is removed, unless it is sound and only cannot be read now."""
        self._states.pop(path, None)
        if isinstance(error, BadStateFile):
            self._log("warn", f"the saved state {path.name} is removed: {error}")
            self._unlink(path)
        elif not isinstance(error, FileNotFoundError):
            self._log("warn", f"the saved state {path.name} is left aside: {error}")

    def _unlink(self, path: Path) -> None:
        self._states.pop(path, None)
        with contextlib.suppress(OSError):  # another worker was faster, or it is a folder
            path.unlink()

    def _pause(self, error: OSError) -> None:
        if isinstance(error, BlockingIOError):  # the lock is taken
            self._paused_until = self._clock() + LOCKED_PAUSE_S
            return
        self._paused_until = self._clock() + PAUSE_S
        self._log("warn", f"conversations are not saved in {self._root} for {PAUSE_S:.0f} s: {error}")


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
