"""Tokens in a tree of their first characters, to find all that a grammar allows with few questions.

A grammar allows a token only if it allows every token whose text is the beginning of it. So one walks the
tree from its root and asks about the children of what is allowed. Characters that the grammar nowhere tells
apart, which it never names, are one: a token that stands for them answers for all.
"""

from __future__ import annotations

import collections
import itertools
import re
import weakref
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from server.engine.batch import TokenArray
from server.engine.model import Model
from server.engine.vocabulary import N_FIRST, UNSURE, Vocabulary, VocabularyMaker

Ask = Callable[[TokenArray], npt.NDArray[np.bool_]]
"""Which of some tokens the grammar allows now. [n] -> [n] bool"""

_Spans = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Starts and lengths of ranges."""

_N_CODES: Final = 0x110000
_N_ASCII: Final = 0x80
_UNSURE_CLASS: Final = 0xFF
_N_TREES: Final = 4
_N_AT_ONCE: Final = 600
"""Tokens below the last nodes that are asked about all at once: each question to llama.cpp takes some 30 us
beside what its tokens take."""
_ESCAPED: Final = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")


def named_characters(gbnf: str) -> frozenset[int]:
    """Code points from 0x80 on that a grammar may name; some more where backslashes are doubled."""
    named = {ord(char) for char in set(gbnf) if ord(char) >= _N_ASCII}
    for digits in _ESCAPED.findall(gbnf):
        code = int("".join(digits), 16)
        if _N_ASCII <= code < _N_CODES:
            named.add(code)
    return frozenset(named)


def _classes(named: frozenset[int]) -> npt.NDArray[np.uint8]:
    """Class of each code point. ASCII characters have their own; beyond, named ones bound the classes.

    When there are too many, the smallest are told apart by asking about each token. [0x110000] uint8
    """
    bounds = sorted({_N_ASCII, _N_CODES} | {code for name in named for code in (name, name + 1)})
    spans = sorted(itertools.pairwise(bounds), key=lambda span: span[0] - span[1])
    classes = np.full(_N_CODES, _UNSURE_CLASS, np.uint8)
    classes[:_N_ASCII] = np.arange(_N_ASCII)
    for number, (start, end) in enumerate(spans[: _UNSURE_CLASS - _N_ASCII]):
        classes[start:end] = _N_ASCII + number
    classes[UNSURE] = _UNSURE_CLASS
    return classes


class _Level(NamedTuple):
    """Nodes of one depth: the tokens that begin with the same classes. All [n_nodes].

    Attributes:
        start: where its tokens begin in the order of the tree.
        n_exact: tokens that end here; they come first.
        n_below: tokens that go on from here.
        asked: a token to ask about, -1 where none answers for the others.
        child, n_children: its nodes of the next depth.
    """

    start: npt.NDArray[np.intp]
    n_exact: npt.NDArray[np.intp]
    n_below: npt.NDArray[np.intp]
    asked: TokenArray
    child: npt.NDArray[np.intp]
    n_children: npt.NDArray[np.intp]


class TokenTrees:
    """The vocabulary of a model, and its trees for the last few sets of characters that grammars name."""

    def __init__(self, model: Model) -> None:
        self._maker = VocabularyMaker(model)
        self._trees: collections.OrderedDict[frozenset[int], TokenTree] = collections.OrderedDict()

    @property
    def vocabulary(self) -> Vocabulary:
        """Waits until it is made."""
        return self._maker.wait()

    @property
    def has_vocabulary(self) -> bool:
        """Whether the vocabulary can be had without waiting."""
        return self._maker.is_made

    def settle(self) -> None:
        """Return once nothing reads the model any more."""
        self._maker.join()

    def tree(self, named: frozenset[int]) -> TokenTree:
        """The tree for grammars that name these characters."""
        tree = self._trees.get(named)
        if tree is None:
            tree = self._trees[named] = TokenTree(self.vocabulary, named)
            if len(self._trees) > _N_TREES:
                self._trees.popitem(last=False)
        self._trees.move_to_end(named)
        return tree


_TREES: Final[weakref.WeakKeyDictionary[Model, TokenTrees]] = weakref.WeakKeyDictionary()


def trees_of(model: Model) -> TokenTrees:
    """The trees of a model; the first call begins to make its vocabulary.

    Whoever calls must `settle` before the model is freed.
    """
    trees = _TREES.get(model)
    if trees is None:
        trees = _TREES[model] = TokenTrees(model)
    return trees


class TokenTree:
    """The tree of a vocabulary for the grammars that name certain characters."""

    def __init__(self, vocabulary: Vocabulary, named: frozenset[int]) -> None:
        ids = np.flatnonzero(vocabulary.first[:, 0]).astype(np.int32)
        classes = _classes(named)[vocabulary.first[ids]]
        unsure = np.maximum.accumulate(classes == _UNSURE_CLASS, axis=1)
        classes[:, 1:][unsure[:, :-1]] = 0
        keys = np.ascontiguousarray(classes).view(">u8").ravel().astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        self._ids: TokenArray = ids[order]
        self._levels = _levels(keys[order], self._ids)
        self._roots = np.arange(len(self._levels[0].start))

    def allowed(self, ask: Ask, n_max: int) -> TokenArray | None:
        """Every token that the grammar allows, ascending; None when a level takes more questions."""
        nodes = self._roots
        found: list[_Spans] = []
        doubtful: list[_Spans] = []
        for level in self._levels:
            if len(nodes) > n_max:
                return None
            asked = level.asked[nodes]
            is_doubtful = asked < 0
            if is_doubtful.any():
                passed, is_sure = nodes[is_doubtful], ~is_doubtful
                sure = nodes[is_sure][ask(asked[is_sure])] if is_sure.any() else nodes[:0]
                doubtful.append((level.start[passed], level.n_exact[passed]))
                nodes = np.concatenate([sure, passed])
            else:
                nodes = sure = nodes[ask(asked)]
            found.append((level.start[sure], level.n_exact[sure]))
            below = level.n_below[nodes]
            if below.sum() <= _N_AT_ONCE:
                doubtful.append((level.start[nodes] + level.n_exact[nodes], below))
                break
            nodes = _ranges(level.child[nodes], level.n_children[nodes])
        tokens = self._tokens(found)
        doubts = self._tokens(doubtful) if doubtful else tokens[:0]
        if not len(doubts):
            return np.sort(tokens)
        if len(doubts) > n_max:
            return None
        return np.sort(np.concatenate([tokens, doubts[ask(doubts)]]))

    def _tokens(self, spans: list[_Spans]) -> TokenArray:
        starts, counts = (np.concatenate(side) for side in zip(*spans, strict=True))
        tokens: TokenArray = self._ids[_ranges(starts, counts)]
        return tokens


def _ranges(starts: npt.NDArray[np.intp], counts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """start, start + 1, ... of each range, one after the other."""
    n = int(counts.sum())
    ends = np.cumsum(counts)
    numbers: npt.NDArray[np.intp] = np.arange(n) + np.repeat(starts - (ends - counts), counts)
    return numbers


def _levels(keys: npt.NDArray[np.uint64], ids: TokenArray) -> list[_Level]:
    """Levels of the tree over sorted keys of eight classes each, the first class highest."""
    spans: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    for depth in range(1, N_FIRST + 1):
        prefix = keys >> np.uint64(8 * (N_FIRST - depth))
        start = np.concatenate([[0], np.flatnonzero(prefix[1:] != prefix[:-1]) + 1])
        end = np.append(start[1:], len(keys))
        is_node = (prefix[start] & np.uint64(0xFF)) != 0
        spans.append((start[is_node], end[is_node]))
    levels: list[_Level] = []
    for depth, (start, end) in enumerate(spans, 1):
        if depth < N_FIRST:
            below = spans[depth][0]
            child = np.searchsorted(below, start)
            n_children = np.searchsorted(below, end) - child
            first_child = np.append(below, len(keys))[child]
            n_exact = np.where(n_children > 0, first_child, end) - start
            last = (keys[start] >> np.uint64(8 * (N_FIRST - depth))) & np.uint64(0xFF)
            answers = (n_exact > 0) & (last != _UNSURE_CLASS)
            asked = np.where(answers, ids[start], -1).astype(np.int32)
        else:  # longer tokens end here too, so none answers for the others
            child = n_children = np.zeros(len(start), np.intp)
            n_exact, asked = end - start, np.full(len(start), -1, np.int32)
        levels.append(_Level(start, n_exact, end - start - n_exact, asked, child, n_children))
    return levels
