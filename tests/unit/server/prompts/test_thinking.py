"""Reasoning apart from the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.prompts.thinking import ThinkingParser
from tests.support.pieces import cut, marked_texts


def parse(pieces: list[str], *, inside: bool = False, keeps_blanks: bool = False) -> tuple[str, str]:
    parser = ThinkingParser("<think>", "</think>", inside=inside, keeps_blanks=keeps_blanks)
    parts = [parser.feed(piece) for piece in pieces]
    parts.append(parser.finish())
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("<think>a</think>b", "a", "b"),
        (" \n<think>\n a \n</think>\n\nb ", "a \n", "b "),
        ("  plain", "", "  plain"),
        ("plain <think>a</think>", "", "plain <think>a</think>"),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("<think>a</think><think>b", "a", "<think>b"),
        ("<think>never closed </thi", "never closed </thi", ""),
        ("<thi", "", "<thi"),
        ("<think", "", "<think"),
        ("<thinking>", "", "<thinking>"),
        ("\n ", "", "\n "),
        ("<think></think>", "", ""),
        ("<think>a < b</think>c", "a < b", "c"),
        ("<think>a</think>  ", "a", ""),
        ("", "", ""),
    ],
)
def test_whole_texts(text: str, thinking: str, answer: str) -> None:
    assert parse([text]) == (thinking, answer)


def test_a_prompt_that_opened_the_tag_starts_inside() -> None:
    assert parse(["\na</think>\nb"], inside=True) == ("a", "b")
    assert parse(["a"], inside=True) == ("a", "")


def test_blanks_can_be_kept() -> None:
    assert parse(["<think>\na\n</think>\n\nb"], keeps_blanks=True) == ("\na\n", "\n\nb")


def test_certain_text_is_not_held_back() -> None:
    parser = ThinkingParser("<think>", "</think>")
    assert parser.feed("<think>a") == ("a", "")
    assert parser.feed("b</") == ("b", "")
    assert parser.feed("c</think>d") == ("</c", "d")
    assert parser.feed("e") == ("", "e")


@given(marked_texts("<think>", "</think>"), st.data(), st.booleans(), st.booleans())
def test_any_cut_gives_the_same(text: str, data: st.DataObject, inside: bool, keeps_blanks: bool) -> None:
    pieces = cut(text, data)
    whole = parse([text], inside=inside, keeps_blanks=keeps_blanks)
    assert parse(pieces, inside=inside, keeps_blanks=keeps_blanks) == whole


@given(marked_texts("<think>", "</think>"))
def test_nothing_is_lost_but_tags_and_blanks(text: str) -> None:
    thinking, answer = parse([text])
    _, opened, inner = text.partition("<think>")
    if not opened or text[: text.index("<think>")].strip():
        assert (thinking, answer) == ("", text)
    else:
        before, _, after = inner.partition("</think>")
        assert (thinking, answer) == (before.lstrip(), after.lstrip())
