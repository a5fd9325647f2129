"""What lies in a store and is needed by no model: which of it may go, and why the rest stays.

Looking and choosing only; `ModelStore.collect_garbage` removes, holding the store's lock.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from server.errors import BadModelFile
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import is_gguf, read_header
from server.storage.blobs import digest_of_name
from server.storage.disk import remove_abandoned
from server.storage.partials import PartialBlob, list_partials, remove_partial
from server.storage.paths import StorePaths
from server.types.upkeep import GarbageItem

BLOB_AGE_S = 3600.0
"""As long as Ollama spares a blob that no manifest names."""

PARTIAL_AGE_S = 7 * 24 * 3600.0
"""A download that nobody has gone on with for a week is taken to be given up."""

MIN_AGE_S = 300.0
"""Nothing younger goes, whatever age is asked for: between the upload of a file and the manifest that names
it, another program leaves no sign of what it is doing."""

_OWN_MIN_AGE_S = 10.0
"""A file of ours has its lock this soon after it was made."""

_PARTIAL = re.compile(r"sha256-([0-9a-fA-F]{64})(?:-partial(?:-\d+)?|\.tmp)")
_BLOCK_BYTES = 512  # unit of st_blocks


class Candidate(NamedTuple):
    """Files that no model needs and that go together.

    Attributes:
        modified_ns: of each file when it was looked at.
        spared: why it may not go now, "" when it may.
        digest: of a download of olla's own, which goes by its own way; "" for everything else.
    """

    item: GarbageItem
    files: tuple[Path, ...]
    modified_ns: tuple[int, ...]
    spared: str = ""
    digest: str = ""


class Ages(NamedTuple):
    """How old garbage must be to go, seconds."""

    blob_s: float = BLOB_AGE_S
    partial_s: float = PARTIAL_AGE_S

    @classmethod
    def of(cls, age_s: float | None) -> Ages:
        """One age for everything; None: the usual ones."""
        if age_s is None:
            return cls()
        return cls(max(age_s, MIN_AGE_S), max(age_s, MIN_AGE_S))


class _Seen(NamedTuple):
    path: Path
    status: os.stat_result


def find_garbage(
    paths: StorePaths, referenced: frozenset[str], held: frozenset[str], now_s: float, ages: Ages
) -> list[Candidate]:
    """Everything that no model needs, blobs first, each kind by name.

    Args:
        referenced: digests that a manifest names.
        held: digests that were uploaded and wait for their model.
    """
    blobs: list[tuple[str, _Seen]] = []
    strange: list[_Seen] = []
    entries, is_changing = _scan(paths.blobs)
    for seen in entries:
        digest = digest_of_name(seen.path.name)
        if digest is None:
            strange.append(seen)
        elif _is_file(seen) and digest not in referenced:
            blobs.append((digest, seen))
    own_partials = list_partials(paths)
    # A download or a create under way: blobs that it finished before are in no manifest yet, however old.
    times = [seen.status.st_mtime for seen in (*strange, *(seen for _, seen in blobs))]
    times += [partial.modified_at for partial in own_partials]
    is_busy = is_changing or any(partial.is_in_use for partial in own_partials)
    is_busy = is_busy or any(now_s - modified_at < ages.blob_s for modified_at in times)
    found = [_blob(paths, digest, seen, held, is_busy, now_s, ages) for digest, seen in blobs]
    own = (_own_partial(paths, partial, now_s, ages) for partial in own_partials)
    found += [candidate for candidate in own if candidate is not None]
    found += _partials(paths, strange, now_s, ages)
    temporaries, _ = _scan(paths.temporary)
    found += [_temporary(paths, seen, now_s, ages.blob_s) for seen in temporaries if _is_file(seen)]
    return found


def is_abandoned(path: Path) -> bool:
    """Whether nobody writes a temporary file any more: its writer held a lock that ended with it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def remove_temporaries(paths: StorePaths, now_s: float) -> None:
    """Remove temporary files that a process of ours left behind when it died."""
    for seen in _scan(paths.temporary)[0]:
        if _is_file(seen) and now_s - seen.status.st_mtime >= _OWN_MIN_AGE_S:
            with suppress(OSError):  # another process was faster, or it is another user's
                remove_abandoned(seen.path)


def remove(paths: StorePaths, candidate: Candidate) -> str:
    """Remove its files; says why not, or "" when they are gone. Raises: StoreError."""
    if candidate.digest:
        return "" if remove_partial(paths, candidate.digest) else "being downloaded"
    try:
        for path, modified_ns in zip(candidate.files, candidate.modified_ns, strict=True):
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime_ns != modified_ns:
                    return "written or asked for while the store was looked at"
        for path in candidate.files:
            if candidate.item.kind != "temporary":
                path.unlink(missing_ok=True)
            elif not remove_abandoned(path):
                return "still being written"
    except OSError as error:
        return f"cannot be removed: {(error.strerror or type(error).__name__).lower()}"
    return ""


def describe(path: Path) -> str:
    """What a file is, for people; "" when that cannot be told."""
    if is_gguf(path):
        try:
            metadata = GgufMetadata(read_header(path))
        except BadModelFile:
            return "weights that do not read"
        kind = metadata.kind if metadata.kind in ("adapter", "projector", "mmproj") else "weights"
        return f"{kind}: {metadata.architecture}, {metadata.parameter_size}, {metadata.file_type}"
    try:
        with path.open("rb") as file:
            head = file.read(256)
        head.decode("utf-8", "strict" if len(head) < 256 else "ignore")
    except (OSError, UnicodeDecodeError):
        return ""
    return "" if b"\0" in head else "text"


def _blob(
    paths: StorePaths,
    digest: str,
    seen: _Seen,
    held: frozenset[str],
    is_busy: bool,
    now_s: float,
    ages: Ages,
) -> Candidate:
    spared = ""
    if digest in held:
        spared = "uploaded, waits for its model"
    elif now_s - seen.status.st_mtime < ages.blob_s:
        spared = f"younger than {_span(ages.blob_s)}: a model may be in the making"
    elif is_busy:
        spared = "another program is downloading or making a model"
    return _candidate(paths, "blob", (seen,), "no model needs it", now_s, spared, what=describe(seen.path))


def _partials(paths: StorePaths, strange: list[_Seen], now_s: float, ages: Ages) -> list[Candidate]:
    """Downloads and other work of Ollama in its folder of blobs."""
    groups: dict[str, list[_Seen]] = {}
    others: list[_Seen] = []
    for seen in strange:
        if not _is_file(seen):
            continue
        match = _PARTIAL.fullmatch(seen.path.name)
        if match is None:
            others.append(seen)
        else:
            groups.setdefault(match[1], []).append(seen)
    found = []
    for digest, files in sorted(groups.items()):
        is_finished = (paths.blobs / f"sha256-{digest}").exists()
        age_s = now_s - max(seen.status.st_mtime for seen in files)
        least_s = ages.blob_s if is_finished else ages.partial_s
        reason = "left over from a finished download" if is_finished else "unfinished download"
        spared = f"younger than {_span(least_s)}: the download can go on" if age_s < least_s else ""
        found.append(_candidate(paths, "partial", tuple(files), reason, now_s, spared, program="Ollama"))
    for seen in others:
        # Names of older versions are blobs, which Ollama renames when it starts.
        if not seen.path.name.startswith("sha256:"):
            spared = "" if now_s - seen.status.st_mtime >= ages.blob_s else "still being written"
            reason = "left behind by a program that was making a blob"
            found.append(_candidate(paths, "temporary", (seen,), reason, now_s, spared, program="Ollama"))
    return found


def _own_partial(paths: StorePaths, partial: PartialBlob, now_s: float, ages: Ages) -> Candidate | None:
    """A download of olla's own; None when it has come to its end meanwhile."""
    spared = ""
    if partial.is_in_use:
        spared = "being downloaded"
    elif now_s - partial.modified_at < ages.partial_s:
        spared = f"younger than {_span(ages.partial_s)}: the download can go on"
    files = []
    for path in partial.files:
        with suppress(FileNotFoundError):
            files.append(_Seen(path, path.lstat()))
    if not files:
        return None
    program = f"olla pull {partial.model}" if partial.model else "olla pull"
    what = f"{partial.completed_bytes} of {partial.total_bytes} bytes" if partial.total_bytes else ""
    reason = "unfinished download"
    made = _candidate(paths, "partial", tuple(files), reason, now_s, spared, program=program, what=what)
    return made._replace(digest=partial.digest)


def _temporary(paths: StorePaths, seen: _Seen, now_s: float, least_s: float) -> Candidate:
    age_s = now_s - seen.status.st_mtime
    spared = ""
    if not is_abandoned(seen.path):
        spared = "still being written"
    elif age_s < min(least_s, _OWN_MIN_AGE_S):
        spared = "just made"
    reason = "left behind by a process that died"
    return _candidate(paths, "temporary", (seen,), reason, now_s, spared, program="olla")


def _candidate(
    paths: StorePaths,
    kind: Literal["blob", "partial", "temporary"],
    files: tuple[_Seen, ...],
    reason: str,
    now_s: float,
    spared: str,
    *,
    program: str = "",
    what: str = "",
) -> Candidate:
    user = _user(files[0].status.st_uid)
    item = GarbageItem(
        kind=kind,
        name=files[0].path.relative_to(paths.root).as_posix(),
        what=what,
        size_bytes=sum(seen.status.st_blocks for seen in files) * _BLOCK_BYTES,
        age_s=max(now_s - max(seen.status.st_mtime for seen in files), 0.0),
        owner=f"{program} ({user})" if program else user,
        reason=spared or reason,
    )
    modified_ns = tuple(seen.status.st_mtime_ns for seen in files)
    return Candidate(item, tuple(seen.path for seen in files), modified_ns, spared)


def _scan(folder: Path) -> tuple[list[_Seen], bool]:
    """A folder's entries by name, and whether one vanished while they were looked at."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return [], False
    found: list[_Seen] = []
    is_changing = False
    for entry in entries:
        try:
            found.append(_Seen(Path(entry.path), entry.stat(follow_symlinks=False)))
        except OSError:
            is_changing = True
    return found, is_changing


def _is_file(seen: _Seen) -> bool:
    return stat.S_ISREG(seen.status.st_mode)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _span(seconds: float) -> str:
    """A length of time in the largest unit that fits."""
    for unit, unit_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= unit_s:
            count = round(seconds / unit_s)
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    return f"{seconds:.0f} seconds"
