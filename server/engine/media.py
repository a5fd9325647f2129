"""Pictures and sounds in a sequence of tokens. Pure.

What a projector makes of a picture is a run of embeddings, which stand in the memory of a sequence like those
of tokens. In the books they are tokens too: negative ones, made from the hash of the file, so that two
prompts share a picture when it is the same picture, and prefixes are compared as ever.

The first of a run is even and the others are odd, so that the tokens alone tell where a run begins: a memory
can be cut in front of a picture and behind it, but not within.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from server.engine.batch import TokenArray

Embeddings = npt.NDArray[np.float32]
"""[n_tokens, n_embd_inp] float32."""

_N_VALUES: Final = 2**30 - 1
"""Values of a stand-in, which with the bit for the first of a run fill the negative int32."""


class Span(msgspec.Struct, frozen=True, eq=False):
    """What a projector made of a picture or sound, or of a part of one.

    Attributes:
        tokens: its stand-ins. [n]
        embeddings: what the model reads. [n, n_embd_inp]
        n_pos: positions that the text behind it has moved on; fewer than n where it lies in a plane.
        is_causal: each of its tokens sees those before it only, so it can be decoded in parts.
        base, slope: its positions are `base + slope * p` when it begins at p. [n_axes, n] int32
    """

    tokens: TokenArray
    embeddings: Embeddings
    n_pos: int
    is_causal: bool
    base: TokenArray
    slope: TokenArray

    @property
    def n_tokens(self) -> int:
        """Tokens that it takes of the context."""
        return len(self.tokens)

    def positions(self, first_pos: int) -> TokenArray:
        """Its positions when it begins at `first_pos`. [n_axes, n] int32"""
        positions: TokenArray = self.base + self.slope * np.int32(first_pos)
        return positions


class Placed(msgspec.Struct, frozen=True, eq=False):
    """A span in a prompt: it begins behind `start` tokens."""

    start: int
    span: Span

    @property
    def end(self) -> int:
        """Tokens of the prompt up to its end."""
        return self.start + self.span.n_tokens


Media = tuple[TokenArray | Span, ...]
"""What stands for one file in a prompt: its spans and the texts that the model wants around them."""


class MediaPrompt(msgspec.Struct, frozen=True, eq=False):
    """The tokens of a prompt and the spans among them, in order."""

    tokens: TokenArray
    spans: tuple[Placed, ...] = ()


def joined(parts: Sequence[TokenArray | Media]) -> MediaPrompt:
    """A prompt of texts and files."""
    tokens: list[TokenArray] = []
    spans: list[Placed] = []
    n = 0
    for part in parts:
        for run in part if isinstance(part, tuple) else (part,):
            if isinstance(run, Span):
                spans.append(Placed(n, run))
            own = run.tokens if isinstance(run, Span) else run
            tokens.append(own)
            n += len(own)
    return MediaPrompt(np.concatenate(tokens) if tokens else np.empty(0, np.int32), tuple(spans))


def stand_ins(digest: bytes, index: int, n: int) -> TokenArray:
    """The tokens for the `index`th span of a file, the same for the same file. [n] negative int32"""
    seed = hashlib.sha256(digest + index.to_bytes(4, "little")).digest()
    values = np.random.Generator(np.random.PCG64(int.from_bytes(seed))).integers(0, _N_VALUES, n)
    tokens = -(2 * values + 1)
    tokens[:1] -= 1
    return tokens.astype(np.int32)


def whole_spans(tokens: TokenArray, n: int) -> int:
    """The largest number of tokens up to `n` after which `tokens` can be cut."""
    while 0 < n < len(tokens) and tokens[n] < 0 and tokens[n] % 2:
        n -= 1
    return n


def has_media(tokens: TokenArray) -> bool:
    """Whether pictures or sounds are among the tokens."""
    return bool((tokens < 0).any())


def before_media(tokens: TokenArray) -> TokenArray:
    """The tokens before the first picture or sound."""
    stand_ins = tokens < 0
    return tokens[: int(stand_ins.argmax())] if stand_ins.any() else tokens


def without_last_span(tokens: TokenArray) -> int:
    """How many of the tokens are left without the span, or the part of one, that they end with."""
    n = len(tokens)
    while n and tokens[n - 1] < 0:
        n -= 1
        if tokens[n] % 2 == 0:
            break
    return n


def text_only(tokens: TokenArray) -> TokenArray:
    """The tokens without pictures and sounds."""
    return tokens[tokens >= 0] if has_media(tokens) else tokens


class MediaCache:
    """What projectors made of files, those used last, up to a number of bytes.

    Attributes:
        n_bytes: of all that is kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._known: collections.OrderedDict[bytes, Media] = collections.OrderedDict()
        self.n_bytes = 0

    def get(self, digest: bytes) -> Media | None:
        """What was made of the file with this hash."""
        media = self._known.get(digest)
        if media is not None:
            self._known.move_to_end(digest)
        return media

    def put(self, digest: bytes, media: Media) -> None:
        """Keep something, in place of what was used longest ago; not at all what is larger than the bound."""
        size = n_bytes(media)
        if digest in self._known or size > self._max_bytes:
            return
        self._known[digest] = media
        self.n_bytes += size
        while self.n_bytes > self._max_bytes:
            self.n_bytes -= n_bytes(self._known.popitem(last=False)[1])


def n_bytes(media: Media) -> int:
    """Memory that the embeddings of a file take."""
    return sum(run.embeddings.nbytes for run in media if isinstance(run, Span))
