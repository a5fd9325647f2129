"""Lexers that are made when they are wanted, and lexers that are ordered."""

from __future__ import annotations

import pytest

from olla_tui.text import lexers
from olla_tui.text.lexers import MAX_LEXERS, MAX_NAME_CHARS, Lexers, LexersOnOrder, make_lexer, make_lexers


@pytest.fixture(autouse=True)
def none_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexers, "_made", {})


def test_a_lexer_on_order_is_there_once_it_was_made() -> None:
    found = LexersOnOrder()
    assert found.find("python") is None and found.find("python") is None
    assert found.has_orders and found.take_orders() == {"python"}
    assert not found.has_orders
    assert make_lexers({"python"})
    lexer = found.find("python")
    assert lexer is not None and lexer is Lexers().find("python")
    assert not found.has_orders


def test_a_language_that_nobody_knows_is_ordered_once() -> None:
    found = LexersOnOrder()
    assert found.find("no-such-language") is None
    assert not make_lexers(found.take_orders())
    assert found.find("no-such-language") is None and not found.has_orders


@pytest.mark.parametrize("language", ["", "x" * (MAX_NAME_CHARS + 1)])
def test_what_names_no_language_is_not_ordered(language: str) -> None:
    found = LexersOnOrder()
    assert found.find(language) is None and not found.has_orders
    assert Lexers().find(language) is None


def test_foreign_names_do_not_pile_up() -> None:
    for number in range(2 * MAX_LEXERS + 1):
        make_lexer(f"nonsense-{number}")
    assert len(lexers._made) <= MAX_LEXERS
