"""Pictures and sounds that a prompt names by path, as Ollama's command line takes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from server.errors import InvalidImage

MAX_FILE_BYTES = 100 * 1024 * 1024

N_MAGIC_BYTES = 16

_PATH = re.compile(r"(?:[a-zA-Z]:)?(?:\./|/|\\)[\S\\ ]+?\.(?i:jpg|jpeg|png|webp|wav)\b")
_ESCAPED = re.compile(r"\\([ ()\[\]{}$&;'\\*?~])")


class Attached(NamedTuple):
    """A prompt without the paths of its files, the files' bytes, and a line about each file."""

    text: str
    files: tuple[bytes, ...]
    notes: tuple[str, ...]


def paths_in(text: str) -> list[str]:
    """What looks like the path of a picture or sound, as it is written."""
    return _PATH.findall(text)


def attach_files(text: str) -> Attached:
    """Read the files that a prompt names and take their paths out of it; a path without a file stays.

    Raises: InvalidImage for a file of another kind, or one that is too large or cannot be read.
    """
    files, notes = [], []
    for written in paths_in(text):
        path = Path(_ESCAPED.sub(r"\1", written))
        if not path.is_file():
            continue
        files.append(read_media(path))
        notes.append(f"Added {'audio' if path.suffix.lower() == '.wav' else 'image'} '{path}'")
        for form in (f"'{path}'", f"'{written}'", written):
            text = text.replace(form, "")
    return Attached(text.strip() if files else text, tuple(files), tuple(notes))


def read_media(path: Path) -> bytes:
    """The bytes of a picture or sound. Raises: InvalidImage."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidImage(f"{path}: file size exceeds maximum limit (100MB)")
        data = path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"{path} cannot be read: {error.strerror}") from None
    if not _is_media(data[:N_MAGIC_BYTES]):
        raise InvalidImage(f"{path}: invalid file type", hint="JPEG, PNG, WebP and WAV files are taken.")
    return data


def _is_media(magic: bytes) -> bool:
    is_riff = magic[:4] == b"RIFF" and magic[8:12] in (b"WEBP", b"WAVE")
    return is_riff or magic.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
