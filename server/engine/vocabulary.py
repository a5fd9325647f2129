"""A model's vocabulary as arrays: how each token begins, and which tokens show nothing."""

from __future__ import annotations

import codecs
import ctypes
import re
import threading
from typing import Final

import numpy as np
import numpy.typing as npt

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.failures import EngineFailure
from server.engine.model import Model

N_FIRST: Final = 8
"""Characters of a token that are told apart."""

UNSURE: Final = 0x10FFFF
"""Stands for what is not text at the end of a token: half a character, or bytes that are none."""

_UNSURE_CHAR: Final = chr(UNSURE)
_N_ASCII: Final = 0x80
_CONTINUATION: Final = range(0x80, 0xC0)
_HALF_OF_A_PAIR: Final = re.compile(rb"\xED[\xA0-\xBF]")
"""How surrogates begin. Python's decoder refuses them at their last byte only."""


class Vocabulary:
    """Made once per model; takes 0.2 to 0.5 s for 128,000 tokens.

    Attributes:
        first: code points of the first characters of each token, 0 behind its end. [n_vocab, 8] uint32
        is_no_text: control tokens and others without text, and bytes with which no UTF-8 text goes on where
            a character has ended. [n_vocab] bool
        eog: tokens that end a generation.
        inside: tokens that begin inside of a UTF-8 sequence.
        characters: for each ASCII character that is a token, that token, in the order of the characters.
    """

    def __init__(self, model: Model) -> None:
        n_vocab = model.n_vocab
        self.is_no_text: npt.NDArray[np.bool_] = np.zeros(n_vocab, np.bool_)
        eog: list[int] = []
        inside: list[int] = []
        firsts: list[str] = []
        buffer = ctypes.create_string_buffer(256)
        for token in range(n_vocab):
            n_bytes = native.token_to_piece(model.vocab, token, buffer, len(buffer), 0, False)
            if n_bytes < 0:
                buffer = ctypes.create_string_buffer(-n_bytes)
                n_bytes = native.token_to_piece(model.vocab, token, buffer, -n_bytes, 0, False)
            piece = buffer.raw[: max(n_bytes, 0)]
            if native.vocab_is_eog(model.vocab, token):
                eog.append(token)
                piece = b""
            elif not piece or not goes_on(b"", piece):
                self.is_no_text[token] = True
                if piece and piece[0] in _CONTINUATION:
                    inside.append(token)
                piece = b""
            firsts.append(_first_characters(piece))
        self.eog: TokenArray = np.array(eog, np.int32)
        self.inside: TokenArray = np.array(inside, np.int32)
        code_points = np.frombuffer("".join(firsts).encode("utf-32-le"), np.uint32)
        self.first = code_points.reshape(n_vocab, N_FIRST)
        self.characters: TokenArray = _single_characters(self.first)


class VocabularyMaker:
    """Makes the vocabulary in a thread of its own, while the prompt is read."""

    def __init__(self, model: Model) -> None:
        self._made: Vocabulary | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(model,), name="vocabulary")
        self._thread.start()

    @property
    def is_made(self) -> bool:
        """Whether it can be had without waiting."""
        return self._made is not None

    def wait(self) -> Vocabulary:
        """The vocabulary, as soon as it is made. Raises: what stopped it."""
        self.join()
        if self._made is None:
            raise EngineFailure("the vocabulary could not be read") from self._error
        return self._made

    def join(self) -> None:
        """Return once nothing reads the model any more."""
        self._thread.join()

    def _run(self, model: Model) -> None:
        try:
            self._made = Vocabulary(model)
        except BaseException as error:  # raised again where it is waited for
            self._error = error


def goes_on(open_bytes: bytes, piece: bytes) -> bool:
    """Whether text that ends with part of a character, or none, is still UTF-8 with the piece behind it."""
    text = open_bytes + piece
    try:
        n_read = codecs.utf_8_decode(text, "strict", False)[1]
    except UnicodeDecodeError:
        return False
    return not _HALF_OF_A_PAIR.match(text, n_read)


def open_end(text: bytes) -> bytes:
    """The bytes at the end of a text that are the beginning of a character."""
    return text[codecs.utf_8_decode(text, "replace", False)[1] :]


def _single_characters(first: npt.NDArray[np.uint32]) -> TokenArray:
    """Of the tokens of one ASCII character each, the first one for each. `first`: as in `Vocabulary`."""
    is_single = (first[:, 0] > 0) & (first[:, 0] < _N_ASCII) & (first[:, 1] == 0)
    tokens = np.flatnonzero(is_single).astype(np.int32)
    places: npt.NDArray[np.intp] = np.unique(first[tokens, 0], return_index=True)[1]
    return tokens[places]


def _first_characters(piece: bytes) -> str:
    """Exactly N_FIRST characters; what llama.cpp reads of a piece ends at its first NUL."""
    try:
        text = piece.decode()
    except UnicodeDecodeError as error:
        text = piece[: error.start].decode() + _UNSURE_CHAR
    if "\0" in text:
        text = text[: text.index("\0")]
    return text[:N_FIRST].ljust(N_FIRST, "\0")
