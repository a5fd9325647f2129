"""What becomes of a screen whose terminal hangs up, and how the next one goes on with it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from olla_tui.bookmark import Bookmark, read_bookmark, write_bookmark
from olla_tui.bridge import Bridge
from olla_tui.panes.chat_desk import ChatDesk
from server.errors import OllaError

log = logging.getLogger("olla.screen")

SAVE_EVERY_S = 1.0
"""Between two savings of an answer that comes while nobody looks, and between two looks at them."""
MAX_ANSWER_S = 3600.0
"""For which an answer is waited for once its terminal is gone."""


class ScreenLife:
    """Leaves a bookmark behind, lets answers come to their end, and takes the last bookmark up again."""

    def __init__(self, bridge: Bridge, desk: ChatDesk, file: Path | None) -> None:
        """Make it.

        Args:
            file: of the bookmark; None keeps none.
        """
        self._bridge = bridge
        self._desk = desk
        self._file = file

    async def leave(self, draft: str) -> None:
        """Keep the place and wait for the end of the answers under way, which are saved as they come."""
        chat = self._desk.current
        self._keep(Bookmark(chat.id, draft, chat.is_answering, os.getpid()))
        self._bridge.set_pace(SAVE_EVERY_S, 1 / SAVE_EVERY_S)
        left_s = MAX_ANSWER_S
        while left_s > 0 and any(known.is_answering for known in self._bridge.state.chats):
            for known in [known for known in self._bridge.state.chats if known.is_answering]:
                await self._save(known.id)
            await asyncio.sleep(SAVE_EVERY_S)
            left_s -= SAVE_EVERY_S
        await self._save(chat.id)
        self._keep(Bookmark(chat.id, draft))

    async def go_on(self, write: Callable[[str], object]) -> str:
        """Show the chat and the draft of the last screen; gives a sentence about an answer that still comes.

        Args:
            write: puts a draft into the prompt.
        Raises: StoreError.
        """
        bookmark = read_bookmark(self._file) if self._file is not None else None
        if bookmark is None or self._file is None:
            return ""
        if not bookmark.is_followed:
            self._file.unlink(missing_ok=True)
        is_open = await self._desk.open(bookmark.chat_id)
        if bookmark.draft:
            write(bookmark.draft)
        if not is_open or not bookmark.is_followed:
            return ""
        self._bridge.order(self._follow(bookmark, len(self._desk.current.turns)))
        return "the answer goes on, and is shown as it comes"

    async def _follow(self, bookmark: Bookmark, n_turns: int) -> None:
        """Show the chat again and again as the process saves it that answers."""
        while bookmark.is_followed:
            await asyncio.sleep(SAVE_EVERY_S)
            chat = self._desk.current
            if chat.id == bookmark.chat_id and len(chat.turns) > n_turns:
                return  # the user has gone on meanwhile
            await self._desk.reload(bookmark.chat_id)
            written = read_bookmark(self._file) if self._file is not None else None
            if written is None or written.chat_id != bookmark.chat_id or not written.answering:
                break
        await self._desk.reload(bookmark.chat_id)
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    async def _save(self, chat_id: str) -> None:
        for chat in self._bridge.state.chats:
            if chat.id == chat_id:
                try:
                    await self._desk.save(chat)
                except OllaError as error:
                    log.error("a chat cannot be saved: %s", error.message)

    def _keep(self, bookmark: Bookmark) -> None:
        if self._file is None:
            return
        try:
            write_bookmark(self._file, bookmark)
        except OSError as error:
            log.error("%s cannot be written: %s", self._file, error.strerror)
