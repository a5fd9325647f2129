"""What is embedded or ranked, from the messages' texts to tokens."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from server.engine import native
from server.engine.batch import TokenArray
from server.engine.failures import BadRequest, ContextFull
from server.engine.model import Model
from server.engine.prompt import token_array

CHARACTERS_PER_TOKEN: Final = 4
"""A guess for texts that are no tokens yet; it only decides who goes first."""

TOO_LONG: Final = "the input length exceeds the context length"
TOO_LONG_CUT: Final = "input after truncation exceeds maximum context length"
QUERY_TOO_LONG: Final = "the query leaves no room for a document in the context; shorten it or raise num_ctx"


class Pair(msgspec.Struct, frozen=True, eq=False):
    """A document and the query that it may answer.

    Attributes:
        head: tokens that stand before the document's.
    """

    head: TokenArray
    query: str
    document: str


class Source(msgspec.Struct, frozen=True, eq=False):
    """One input as it came. `truncate`: cut one that is too long instead of refusing it."""

    content: str | tuple[int, ...] | Pair
    truncate: bool


class InputReader:
    """Makes tokens of inputs for one model and context.

    Attributes:
        n_ctx: tokens that an input may have.
    """

    def __init__(self, model: Model, n_ctx: int) -> None:
        self._model = model
        self.n_ctx = n_ctx
        special = model.tokenize("", add_special=True)
        self._n_prefix = 1 if len(special) > 1 or (len(special) == 1 and special[0] == model.bos) else 0
        self._n_suffix = len(special) - self._n_prefix
        self._pairs = PairFormat(model)

    def sources(self, inputs: tuple[str | tuple[int, ...], ...], *, truncate: bool) -> tuple[Source, ...]:
        """The inputs of an `Embed`."""
        return tuple(Source(item, truncate) for item in inputs)

    def pairs(self, query: str, documents: tuple[str, ...], *, truncate: bool) -> tuple[Source, ...]:
        """The pairs of a `Rerank`."""
        head = self._pairs.head(query)
        return tuple(Source(Pair(head, query, document), truncate) for document in documents)

    def n_tokens_guess(self, source: Source) -> int:
        """About how many tokens an input will be."""
        content = source.content
        if isinstance(content, Pair):
            return len(content.head) + len(content.document) // CHARACTERS_PER_TOKEN + 1
        return len(content) if isinstance(content, tuple) else len(content) // CHARACTERS_PER_TOKEN + 1

    def tokens(self, source: Source) -> TokenArray:
        """The tokens of an input, at most the context. Raises: BadRequest, ContextFull."""
        content = source.content
        if isinstance(content, Pair):
            return self._pair(content, truncate=source.truncate)
        n_prefix, n_suffix = (self._n_prefix, self._n_suffix) if isinstance(content, str) else (0, 0)
        if isinstance(content, str):
            tokens = self._model.tokenize(content, add_special=True)
        else:
            tokens = token_array(self._model, content)
        if not len(tokens):
            raise BadRequest("an input is empty")
        if len(tokens) <= self.n_ctx:
            return tokens
        if not source.truncate:
            raise ContextFull(TOO_LONG, n_prompt_tokens=len(tokens), n_ctx=self.n_ctx)
        if self.n_ctx <= n_prefix + n_suffix:
            raise ContextFull(TOO_LONG_CUT, n_prompt_tokens=len(tokens), n_ctx=self.n_ctx)
        return self._cut(tokens, n_suffix)

    def n_dropped(self, query: str, document: str) -> int:
        """Tokens that are cut off a document, so that the pair fits the context."""
        pair = Pair(self._pairs.head(query), query, document)
        return max(0, len(self._pairs.join(pair)[0]) - self.n_ctx)

    def _pair(self, pair: Pair, *, truncate: bool) -> TokenArray:
        """The document is cut, never the query, and what stands behind the document stays."""
        tokens, n_tail = self._pairs.join(pair)
        if len(tokens) <= self.n_ctx:
            return tokens
        if not truncate:
            raise ContextFull(TOO_LONG, n_prompt_tokens=len(tokens), n_ctx=self.n_ctx)
        if len(pair.head) + n_tail >= self.n_ctx:
            raise ContextFull(QUERY_TOO_LONG, n_prompt_tokens=len(tokens), n_ctx=self.n_ctx)
        return self._cut(tokens, n_tail)

    def _cut(self, tokens: TokenArray, n_kept_at_end: int) -> TokenArray:
        n_body = len(tokens) - n_kept_at_end
        n_excess = len(tokens) - self.n_ctx
        return np.concatenate([tokens[: n_body - n_excess], tokens[n_body:]])


class PairFormat:
    """How a query and a document are joined, as llama-server does it.

    A model's own template of the name "rerank" has {query} and {document} in it. Otherwise the order is BOS,
    query, EOS, SEP, document, EOS, each special token only where the tokenizer adds it; a vocabulary without
    EOS has SEP in its place, and special tokens in the texts themselves are plain text.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        vocab = model.vocab
        source = native.model_chat_template(model.address, b"rerank")
        self._template = source.decode("utf-8", "replace").split("{document}") if source else []
        end = model.eos if model.eos >= 0 else native.vocab_sep(vocab)
        self._begin = [model.bos] if model.adds_bos else []
        self._end = [end] if native.vocab_get_add_eos(vocab) else []
        self._between = self._end + ([native.vocab_sep(vocab)] if native.vocab_get_add_sep(vocab) else [])

    def head(self, query: str) -> TokenArray:
        """Tokens before a document."""
        if self._template:
            return self._model.tokenize(self._template[0].replace("{query}", query))
        return self._joined(self._begin, self._plain(query), self._between)

    def join(self, pair: Pair) -> tuple[TokenArray, int]:
        """Tokens of a pair, and how many of them stand behind the document."""
        if not self._template:
            return self._joined(pair.head, self._plain(pair.document), self._end), len(self._end)
        # Tokens may reach over the borders of the parts, so they are made of the whole.
        parts = [part.replace("{query}", pair.query) for part in self._template]
        return self._model.tokenize(pair.document.join(parts)), len(self._model.tokenize(parts[-1]))

    def _plain(self, text: str) -> TokenArray:
        return self._model.tokenize(text, parse_special=False)

    def _joined(self, *parts: TokenArray | list[int]) -> TokenArray:
        return np.concatenate([np.asarray(part, np.int32) for part in parts])
