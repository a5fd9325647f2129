"""From tokens to the text that a reader may see. Pure.

Text leaves in units of whole tokens: a token is released, with its text and log probability, once all its
characters are complete and none of them can still become part of a stop text. So the tokens that were
released stand for exactly the text that was released, but for the last ones of a generation: a stop text
can cut the text of the last token, and an open character ends as U+FFFD.

A generation that another worker began goes on from what was released there. What was held back there is
not known here and need not be: its tokens are chosen again. But a stop text may begin in text that is shown
already, so that the end of it stays in the buffer and is not shown twice.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from server.engine.stop_strings import find_stop, n_open
from server.types.generation import TokenLogprob


class Released(msgspec.Struct, frozen=True):
    """Tokens that may be shown, and their text."""

    tokens: tuple[int, ...] = ()
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


NOTHING: Final = Released()


def joined(first: Released, second: Released) -> Released:
    """The tokens of both and their text, in this order."""
    if second is NOTHING:
        return first
    return Released(
        (*first.tokens, *second.tokens), first.text + second.text, (*first.logprobs, *second.logprobs)
    )


class _Held(msgspec.Struct):
    """A token that waits; `start` and `end` are its characters in the held text."""

    token: int
    start: int
    end: int
    whole: bool
    logprob: TokenLogprob | None


class Detokenizer:
    """The text of one generation.

    Attributes:
        stop_text: the stop text that was found; "" before. Nothing may be fed after it.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._open_bytes = False
        self._text = ""
        self._n_shown = 0  # characters that `_text` begins with, or will, and that are shown already
        self._held: list[_Held] = []
        self.stop_text = ""

    @property
    def holds_back(self) -> bool:
        """Whether something waits, or may have to: a token of ASCII characters would not leave at once."""
        return bool(self._stops or self._text or self._held or self._open_bytes or self._n_shown)

    def resume(self, pieces: Iterable[bytes], n_shown: int = -1) -> None:
        """Go on where an earlier detokenizer stopped; the first call, if at all.

        A stop text within the pieces ends the text here as it did there.

        Args:
            pieces: bytes of the tokens that were released.
            n_shown: characters that were released; -1: all that the tokens stand for.
        """
        self._text = self._decoder.decode(b"".join(pieces))
        self._open_bytes = bool(self._decoder.getstate()[0])
        self._n_shown = len(self._text) if n_shown < 0 else n_shown
        match = find_stop(self._text, self._stops)
        if match is not None:
            self.stop_text = match.text
        n_needless = min(self._n_shown, len(self._text) - n_open(self._text, self._stops))
        self._text = self._text[n_needless:]
        self._n_shown -= n_needless

    def feed(self, token: int, piece: bytes, logprob: TokenLogprob | None = None) -> Released:
        """Add a token with its bytes; returns what may be shown now."""
        if piece.isascii() and not self.holds_back:
            # As nearly always: nothing waits, and nothing can keep the token.
            return Released((token,), piece.decode("ascii"), () if logprob is None else (logprob,))
        start = len(self._text)
        if self._open_bytes or not piece.isascii():
            self._text += self._decoder.decode(piece)
            self._open_bytes = bool(self._decoder.getstate()[0])
        else:
            self._text += piece.decode("ascii")
        self._held.append(_Held(token, start, len(self._text), not self._open_bytes, logprob))
        if self._stops:
            match = find_stop(self._text, self._stops)
            if match is not None:
                self.stop_text = match.text
                n_tokens = sum(1 for held in self._held if held.start < match.start)
                return self._release(n_tokens, match.start)
        return self._release_safe(len(self._text) - n_open(self._text, self._stops))

    def finish(self) -> Released:
        """The generation has ended: the rest of the text. Bytes that are no whole character become U+FFFD."""
        if self.stop_text:
            return NOTHING
        self._text += self._decoder.decode(b"", final=True)
        return self._release(len(self._held), len(self._text))

    def _release_safe(self, n_safe: int) -> Released:
        """Release the longest run of tokens that ends on a whole character within the first `n_safe`."""
        for n_tokens in range(len(self._held), 0, -1):
            held = self._held[n_tokens - 1]
            if held.whole and held.end <= n_safe:
                return self._release(n_tokens, held.end)
        return NOTHING

    def _release(self, n_tokens: int, n_characters: int) -> Released:
        released = self._held[:n_tokens]
        result = Released(
            tuple(held.token for held in released),
            self._text[self._n_shown : n_characters],
            tuple(held.logprob for held in released if held.logprob is not None),
        )
        self._text = self._text[n_characters:]
        self._n_shown = max(0, self._n_shown - n_characters)
        self._held = self._held[n_tokens:]
        for held in self._held:
            held.start -= n_characters
            held.end -= n_characters
        return result
