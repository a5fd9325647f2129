"""What counts as one character for a grammar, and how texts of tokens end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.token_tree import TokenTree, named_characters
from server.engine.vocabulary import N_FIRST, Vocabulary, goes_on, open_end


def vocabulary(*texts: str) -> Vocabulary:
    made = Vocabulary.__new__(Vocabulary)
    codes = [[ord(char) for char in text[:N_FIRST].ljust(N_FIRST, "\0")] for text in texts]
    made.first = np.array(codes, np.uint32)
    return made


WORDS = st.lists(st.text("ab é€\U0010ffff", min_size=1, max_size=10), min_size=1, max_size=60)


@given(words=WORDS, allowed=st.sets(st.text("ab é€", max_size=10), max_size=6), names_e=st.booleans())
def test_the_tree_finds_every_allowed_token_and_no_other(
    words: list[str], allowed: set[str], names_e: bool
) -> None:
    """A grammar of a few texts: it allows their beginnings, and does not tell é and € apart unless named."""

    def folded(text: str) -> str:
        return text if names_e else text.replace("€", "é")

    texts = {folded(text) for text in allowed}
    verdicts = [any(text.startswith(folded(word)) for text in texts) for word in words]
    n_asked = 0

    def ask(ids: np.ndarray) -> np.ndarray:
        nonlocal n_asked
        n_asked += len(ids)
        return np.array([verdicts[token] for token in ids])

    tree = TokenTree(vocabulary(*words), frozenset([ord("é")] if names_e else []))
    found = tree.allowed(ask, 10_000)
    assert found is not None
    assert found.tolist() == [token for token, verdict in enumerate(verdicts) if verdict]
    assert tree.allowed(ask, 0) is None
    assert n_asked <= 2 * len(words)


def test_one_token_answers_for_those_that_differ_in_what_is_not_named() -> None:
    tree = TokenTree(vocabulary(*"абвгдежз"), frozenset())
    asked: list[int] = []

    def ask(ids: np.ndarray) -> np.ndarray:
        asked.extend(ids.tolist())
        return np.ones(len(ids), np.bool_)

    found = tree.allowed(ask, 100)
    assert found is not None and len(found) == 8
    assert len(asked) == 1


def test_named_characters_are_found_in_every_spelling() -> None:
    gbnf = 'root ::= "é" [а-я] "\\x9F" "\\u20ac" "\\U0001F600" "\\x41" "a"'
    assert named_characters(gbnf) == {*map(ord, "éая€😀"), 0x9F}
    assert named_characters('root ::= "a"') == frozenset()


def test_more_named_characters_than_classes_are_asked_about_one_by_one() -> None:
    words = [chr(0x4E00 + 2 * number) for number in range(400)]
    tree = TokenTree(vocabulary(*words), frozenset(map(ord, words)))
    found = tree.allowed(lambda ids: ids % 3 == 0, 1000)
    assert found is not None
    assert found.tolist() == list(range(0, 400, 3))


@given(st.text(max_size=6), st.integers(0, 12))
def test_a_text_cut_anywhere_goes_on(text: str, at: int) -> None:
    data = text.encode()
    head, tail = data[:at], data[at:]
    left = open_end(head)
    assert head[: len(head) - len(left)].decode() == head.decode("utf-8", "ignore")
    assert goes_on(left, tail)
    assert open_end(left + tail) == b""


@pytest.mark.parametrize("piece", [b"\xfe", b"\xc0", b"\x80", b"a\xff", b"\xe4a", b"\xed\xa0"])
def test_bytes_that_are_no_text_do_not_go_on(piece: bytes) -> None:
    assert not goes_on(b"", piece)
    assert not goes_on("ä".encode()[:1], piece) or piece == b"\x80"
