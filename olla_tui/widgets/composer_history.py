"""Earlier prompts, walked like a shell's history; no Textual in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

MAX_PROMPTS = 1000


class PromptHistory:
    """Prompts from old to new, and where the walk through them stands."""

    def __init__(self, prompts: Iterable[str] = ()) -> None:
        self._prompts: deque[str] = deque(prompts, maxlen=MAX_PROMPTS)
        self._back = 0  # how many prompts back; 0 is the text that was being written
        self._draft = ""

    def add(self, prompt: str) -> None:
        """Remember a prompt, once in a row, and end the walk."""
        if not self._prompts or self._prompts[-1] != prompt:
            self._prompts.append(prompt)
        self._back, self._draft = 0, ""

    def older(self, text: str) -> str | None:
        """The prompt before; None when there is none. `text` is kept when the walk begins with it."""
        if self._back >= len(self._prompts):
            return None
        if self._back == 0:
            self._draft = text
        self._back += 1
        return self._prompts[-self._back]

    def newer(self) -> str | None:
        """The prompt after, at last the text that the walk began with; None when there is no walk."""
        if self._back == 0:
            return None
        self._back -= 1
        return self._prompts[-self._back] if self._back else self._draft
