"""A GBNF grammar over tokens, which never lets llama.cpp see a token that it does not allow.

llama.cpp throws a C++ exception through C when it is told to accept such a token, and the process ends. So
each token is asked for first. A grammar with triggers stays asleep until one of the trigger texts is
complete; the text from the trigger's first character on must then be what the grammar begins with.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.candidates import Candidates
from server.engine.failures import BadGrammar
from server.engine.gbnf import check_gbnf
from server.engine.model import Model


class Grammar:
    """The state of a grammar in one generation."""

    def __init__(self, model: Model, gbnf: str, triggers: Sequence[str], candidates: Candidates) -> None:
        check_gbnf(gbnf)
        self._model = model
        self._candidates = candidates
        self._triggers = tuple(trigger.encode("utf-8", "replace") for trigger in triggers if trigger)
        self._is_awake = not self._triggers
        self._asleep_text = b""
        self._pointer = native.sampler_init_grammar(model.vocab, gbnf.encode("utf-8", "replace"), b"root")
        if not self._pointer:
            raise BadGrammar("the grammar cannot be parsed, or has no rule named root")

    @property
    def is_awake(self) -> bool:
        """Whether it constrains now."""
        return self._is_awake

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        if self._is_awake:
            return bool(self._mask(self._pointer, np.array([token], np.int32))[0])
        tail = self._tail_from_trigger(token)
        if tail is None:
            return True
        trial = native.sampler_clone(self._pointer)
        try:
            return self._feed(trial, tail)
        finally:
            native.sampler_free(trial)

    def mask(self, ids: TokenArray) -> npt.NDArray[np.bool_]:
        """Which of the tokens may come next. [n] bool"""
        if self._is_awake:
            return self._mask(self._pointer, ids)
        return np.fromiter((self.allows(int(token)) for token in ids), np.bool_, len(ids))

    def accept(self, token: int) -> None:
        """The token was chosen. Raises: BadGrammar when the grammar does not allow it."""
        if not self.allows(token):
            raise BadGrammar("a token does not follow the grammar")
        if self._is_awake:
            native.sampler_accept(self._pointer, token)
            return
        tail = self._tail_from_trigger(token)
        if tail is not None:
            self._feed(self._pointer, tail)
            self._is_awake = True
            self._asleep_text = b""
            return
        longest = max(len(trigger) for trigger in self._triggers)
        self._asleep_text = (self._asleep_text + self._piece(token))[-longest:]

    def close(self) -> None:
        """Free it."""
        if self._pointer:
            native.sampler_free(self._pointer)

    def _mask(self, pointer: native.SamplerPointer, ids: TokenArray) -> npt.NDArray[np.bool_]:
        self._candidates.load(ids, np.zeros(len(ids), np.float32))
        self._candidates.apply(pointer)
        return self._candidates.allowed(len(ids))

    def _piece(self, token: int) -> bytes:
        return self._model.piece(token, special=True)

    def _tail_from_trigger(self, token: int) -> bytes | None:
        """The text from the trigger on, when the token completes one."""
        text = self._asleep_text + self._piece(token)
        starts = [start for trigger in self._triggers if (start := text.find(trigger)) >= 0]
        return text[min(starts) :] if starts else None

    def _feed(self, pointer: native.SamplerPointer, text: bytes) -> bool:
        """Walk the grammar over a text; False at the first token that it does not allow."""
        tokens = self._spell(text)
        for token in tokens:
            if not self._mask(pointer, np.array([token], np.int32))[0]:
                return False
            native.sampler_accept(pointer, token)
        return bool(tokens)

    def _spell(self, text: bytes) -> list[int]:
        """Tokens whose bytes are exactly `text`; empty when there are none."""
        tokens = [int(token) for token in self._model.tokenize(text.decode("utf-8", "replace"))]
        for start in range(len(tokens)):
            # Some vocabularies put a space in front of a text; it can be a token of its own.
            if b"".join(self._piece(token) for token in tokens[start:]) == text:
                return tokens[start:]
        return []
