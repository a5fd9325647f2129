"""Writing files so that they are there whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from server.errors import DiskFull, StoreError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn failures of the operating system into errors for people.

    Raises: DiskFull, StoreError.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"no room left on the disk of the model store {root}",
                hint="Delete a model with `olla rm`, or set OLLAMA_MODELS to a folder on a larger disk.",
            ) from error
        reason = (error.strerror or type(error).__name__).lower()
        hint = ""
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "Set OLLAMA_MODELS to a folder that you may write to."
        raise StoreError(f"the model store {root} cannot be written: {reason}", hint=hint) from error


def require_room(folder: Path, needed_bytes: int, what: str) -> None:
    """See that so many bytes are free before they are written.

    Raises: DiskFull with both numbers; OSError when the disk cannot be asked.
    """
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise DiskFull(
            f"{what} needs {needed_bytes} bytes, and the disk of the model store has {free_bytes} free",
            hint="Delete a model with `olla rm`, or clean up with `olla gc`.",
        )


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, writable for their owner alone, as in Ollama. Raises: OSError."""
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
    except FileNotFoundError:
        make_folder(folder.parent)
        folder.mkdir(mode=0o755, exist_ok=True)


def open_temporary(folder: Path, prefix: str) -> tuple[int, Path]:
    """A new file that only its owner may read: descriptor for writing, and path. Raises: OSError.

    The descriptor holds a lock on the file, by which others see that somebody still writes it.
    """
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        make_folder(folder)
        path = folder / f"{prefix}{secrets.token_hex(8)}"
        descriptor = os.open(path, flags, 0o600)
        if try_lock(descriptor) and os.fstat(descriptor).st_nlink:
            return descriptor, path
        # Somebody has taken it for abandoned before the lock was there.
        os.close(descriptor)
        path.unlink(missing_ok=True)


def remove_abandoned(path: Path) -> bool:
    """Remove a temporary file unless somebody still writes it. Raises: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not try_lock(descriptor):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Lock a file without waiting; False when another has. True as well on a disk that has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it; one call of `os.write` may take less. Raises: OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def publish(descriptor: int, temporary: Path, target: Path) -> None:
    """Make a written temporary file the target, on the disk before it can be seen. Raises: OSError."""
    os.fchmod(descriptor, 0o644)
    os.fsync(descriptor)
    make_folder(target.parent)
    try:
        os.replace(temporary, target)
    except FileNotFoundError:
        # Ollama removes folders that it finds empty, and has found this one so in between.
        make_folder(target.parent)
        os.replace(temporary, target)
    sync_folder(target.parent)


def write_atomically(target: Path, data: bytes, temporary_folder: Path) -> None:
    """Replace a file; readers see the old bytes or the new ones. Raises: OSError."""
    descriptor, temporary = open_temporary(temporary_folder, "file-")
    try:
        write_all(descriptor, data)
        publish(descriptor, temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Put a rename on the disk, where the file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_empty_folders(folder: Path, stop: Path) -> None:
    """Remove a folder and its parents below `stop` as long as they are empty."""
    while folder != stop and stop in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
