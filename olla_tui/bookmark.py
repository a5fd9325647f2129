"""Where the screen was when its terminal hung up: what the next one goes on with."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Bookmark:
    """The place of a screen that is gone.

    Attributes:
        chat_id: the chat that was shown.
        draft: what stood in the prompt.
        answering: an answer to the chat is still coming, in the process `pid`.
    """

    chat_id: str
    draft: str = ""
    answering: bool = False
    pid: int = 0

    @property
    def is_followed(self) -> bool:
        """Whether the process that answers is still there."""
        if not self.answering or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def write_bookmark(path: Path, bookmark: Bookmark) -> None:
    """Keep a bookmark, for its owner alone. Raises: OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
        json.dump(asdict(bookmark), file)
    os.replace(partial, path)


def read_bookmark(path: Path) -> Bookmark | None:
    """The bookmark, None where there is none that can be read."""
    try:
        with path.open(encoding="utf-8") as file:
            value = json.loads(file.read(MAX_BYTES))
        return Bookmark(
            str(value["chat_id"]), str(value["draft"]), bool(value["answering"]), int(value["pid"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
