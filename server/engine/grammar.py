"""A GBNF grammar over tokens, which never lets llama.cpp see a token that it does not allow.

llama.cpp throws a C++ exception through C when it is told to accept such a token, and the process ends. So
each token is asked for first. A grammar with triggers stays asleep until one of the trigger texts is
complete; the text from the trigger's first character on must then be what the grammar begins with.

Control tokens have a text in llama.cpp's eyes and none in the answer, so an awake grammar allows only those
that the answer shows. Nor does it allow bytes that are no UTF-8, which llama.cpp does not look at.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.candidates import Candidates
from server.engine.failures import BadGrammar
from server.engine.gbnf import check_gbnf
from server.engine.model import Model
from server.engine.token_tree import named_characters, trees_of
from server.engine.vocabulary import goes_on, open_end

_MAX_FORCED_BYTES_PER_TOKEN: Final = 4
_N_QUESTIONS: Final = 2000
"""Tokens that each step of a search for all allowed ones may ask about; each takes 0.1 to 0.4 us."""


class Grammar:
    """The state of a grammar in one generation. `shown`: control tokens that are part of the answer."""

    def __init__(
        self,
        model: Model,
        gbnf: str,
        triggers: Sequence[str],
        candidates: Candidates,
        shown: Collection[int] = (),
    ) -> None:
        check_gbnf(gbnf)
        self._model = model
        self._candidates = candidates
        self._shown: TokenArray = np.array(sorted(shown), np.int32)
        self._named = named_characters(gbnf)
        self._triggers = tuple(trigger.encode("utf-8", "replace") for trigger in triggers if trigger)
        self._is_awake = not self._triggers
        self._asleep_text = b""
        self._open_bytes = b""
        self._allowed_token = -1
        self._pointer = native.sampler_init_grammar(model.vocab, gbnf.encode("utf-8", "replace"), b"root")
        if not self._pointer:
            raise BadGrammar("the grammar cannot be parsed, or has no rule named root")
        self._trees = trees_of(model)

    @functools.cached_property
    def _hides(self) -> npt.NDArray[np.bool_]:
        """Tokens that are no part of the answer's text where a character has ended. [n_vocab]"""
        hides = self._trees.vocabulary.is_no_text.copy()
        hides[self._shown] = False
        return hides

    @property
    def is_awake(self) -> bool:
        """Whether it constrains now."""
        return self._is_awake

    def allows(self, token: int) -> bool:
        """Whether the token may come next."""
        if self._is_awake:
            allowed = bool(self.mask(np.array([token], np.int32))[0])
            self._allowed_token = token if allowed else -1
            return allowed
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
            mask: npt.NDArray[np.bool_] = self._mask(self._pointer, ids)
            if not self._open_bytes:
                mask &= ~self._hides[ids]
                return mask
            # llama.cpp takes any byte of a character's middle for its next one.
            for at in np.flatnonzero(mask):
                mask[at] = goes_on(self._open_bytes, self._piece(int(ids[at])))
            return mask
        return np.fromiter((self.allows(int(token)) for token in ids), np.bool_, len(ids))

    def all_allowed(self) -> TokenArray | None:
        """Every token that may come next, ascending; None when there are too many to find them soon."""
        if not self._is_awake:
            return None
        others = np.concatenate([self._trees.vocabulary.eog, self._shown])
        if self._open_bytes:
            others = np.concatenate([others, self._trees.vocabulary.inside])
            return np.unique(others[self.mask(others)])
        found = self._trees.tree(self._named).allowed(self._ask, _N_QUESTIONS)
        if found is None:
            return None
        return np.sort(np.concatenate([found, others[self.mask(others)]]))

    def accept(self, token: int) -> None:
        """The token was chosen. Raises: BadGrammar when the grammar does not allow it."""
        if token != self._allowed_token and not self.allows(token):
            raise BadGrammar("a token does not follow the grammar")
        self._allowed_token = -1
        if self._is_awake:
            native.sampler_accept(self._pointer, token)
            self._open_bytes = open_end(self._open_bytes + self._piece(token))
            return
        tail = self._tail_from_trigger(token)
        if tail is not None:
            self._feed(self._pointer, tail)
            self._is_awake = True
            self._asleep_text = b""
            self._open_bytes = open_end(tail)
            return
        longest = max(len(trigger) for trigger in self._triggers)
        self._asleep_text = (self._asleep_text + self._piece(token))[-longest:]

    def forced(self, n_max: int) -> TokenArray:
        """Tokens of the text that has to come next, at most `n_max`, as the tokenizer spells that text.

        The answer may spell it otherwise, and its last token may hold more than that text. Empty where there
        is a choice, or as long as the vocabulary is not made. Nobody looks whether characters beyond ASCII
        are allowed as well: it is a guess.
        """
        text = b""
        if self._is_awake and not self._open_bytes and self._trees.has_vocabulary:
            text = self._forced_text(_MAX_FORCED_BYTES_PER_TOKEN * n_max)
        return np.array(self._spell(text)[:n_max], np.int32)

    def close(self) -> None:
        """Free it, once nothing reads the model's vocabulary any more."""
        if self._pointer:
            native.sampler_free(self._pointer)
            self._trees.settle()

    def _forced_text(self, n_max: int) -> bytes:
        """ASCII characters that have to come next."""
        token = self._only_character(self._pointer)
        if token < 0:
            return b""
        trial = native.sampler_clone(self._pointer)
        text = b""
        try:
            while token >= 0 and len(text) < n_max:
                native.sampler_accept(trial, token)
                text += self._piece(token)
                token = self._only_character(trial)
        finally:
            native.sampler_free(trial)
        return text

    def _only_character(self, pointer: native.SamplerPointer) -> int:
        """The token of the only ASCII character that may come next; -1 where there are others, or the end."""
        vocabulary = self._trees.vocabulary
        few = np.concatenate([vocabulary.eog, vocabulary.characters[:: len(vocabulary.characters) // 8 or 1]])
        if np.count_nonzero(self._mask(pointer, few)) > 1:
            return -1  # most places where there is a choice, at an eighth of the time
        allowed = vocabulary.characters[self._mask(pointer, vocabulary.characters)]
        if len(allowed) != 1 or self._mask(pointer, vocabulary.eog).any():
            return -1
        return int(allowed[0])

    def _ask(self, ids: TokenArray) -> npt.NDArray[np.bool_]:
        """As `mask` for tokens that are text where a character has ended."""
        return self._mask(self._pointer, ids)

    def _mask(self, pointer: native.SamplerPointer, ids: TokenArray) -> npt.NDArray[np.bool_]:
        self._candidates.load(ids, 0.0)
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
