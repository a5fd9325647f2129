"""Brings a transcript up to a conversation: what streams is appended, anything else is shown anew."""

from __future__ import annotations

from operator import is_

from olla_tui.panes.chat_turns import TurnViews, continues
from olla_tui.state import turns
from olla_tui.state.conversation import Conversation, Turn
from olla_tui.widgets.transcript import Transcript


class TranscriptFeed:
    """What of which chat a transcript shows."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._chat: Conversation | None = None
        self._version = -1
        self._shown: tuple[Turn, ...] = ()
        self._last_turn_id = -1  # in the transcript

    def show(self, chat: Conversation) -> None:
        """Show a chat as it stands: only the last turn of those shown may have changed."""
        if chat is self._chat and chat.version == self._version:
            return
        shown, current = self._shown, tuple(chat.turns)
        n_same = max(len(shown) - 1, 0)
        if (
            chat is self._chat
            and len(current) >= len(shown)
            and all(map(is_, shown[:n_same], current))
            and (not shown or continues(shown[-1], current[n_same]))
        ):
            if shown and shown[-1] is not current[n_same]:
                self._update(chat, shown[-1], current[n_same])
            for turn in current[len(shown) :]:
                self._begin(chat, turn)
        else:
            self._load(chat)
        self._chat, self._version, self._shown = chat, chat.version, current

    def _load(self, chat: Conversation) -> None:
        ended = chat.turns[:-1] if chat.is_answering else chat.turns
        ids = self._transcript.load(TurnViews(chat, ended))
        self._last_turn_id = ids[-1] if ids else -1
        for turn in chat.turns[len(ended) :]:
            self._begin(chat, turn)

    def _begin(self, chat: Conversation, turn: Turn) -> None:
        transcript = self._transcript
        streaming = turn.role == "assistant"
        self._last_turn_id = transcript.begin_turn(
            turn.role,
            turns.title_of(turn),
            content="" if streaming else turn.content,
            stats=turns.stats_of(turn, chat.sibling_place(turn)),
            attachments=turns.attachments_of(turn),
            streaming=streaming,
        )
        if turn.role == "user":
            transcript.follow()
        if streaming:
            self._update(chat, Turn(role="assistant", state="waiting"), turn)

    def _update(self, chat: Conversation, before: Turn, after: Turn) -> None:
        transcript, key = self._transcript, self._last_turn_id
        if len(after.thinking) > len(before.thinking):
            transcript.append_thinking(key, after.thinking[len(before.thinking) :])
        if len(after.content) > len(before.content):
            transcript.append_content(key, after.content[len(before.content) :])
        note = turns.thinking_note_of(after)
        if note and note != turns.thinking_note_of(before):
            transcript.set_thinking_note(key, note)
        place = chat.sibling_place(after)
        stats = turns.stats_of(after, place)
        if after.state not in ("waiting", "streaming"):
            transcript.end_turn(key, stats=stats, error=turns.error_of(after))
        elif stats != turns.stats_of(before, place):
            transcript.set_stats(key, stats)
