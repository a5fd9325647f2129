"""Walking through earlier prompts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from olla_tui.widgets.composer_history import MAX_PROMPTS, PromptHistory


def test_the_walk_ends_at_the_oldest_and_comes_back_to_the_draft() -> None:
    history = PromptHistory(["old", "new"])
    assert history.newer() is None
    assert [history.older("draft"), history.older("new"), history.older("old")] == ["new", "old", None]
    assert [history.newer(), history.newer(), history.newer()] == ["new", "draft", None]


def test_a_sent_prompt_ends_the_walk() -> None:
    history = PromptHistory(["old"])
    history.older("")
    history.add("new")
    assert history.older("draft") == "new"


def test_a_prompt_that_is_sent_again_is_kept_once() -> None:
    history = PromptHistory(["same"])
    history.add("same")
    assert [history.older(""), history.older("")] == ["same", None]


@given(st.lists(st.text(max_size=3), max_size=20), st.text(max_size=3))
def test_back_and_forth_is_the_same_way(prompts: list[str], draft: str) -> None:
    history = PromptHistory(prompts)
    back: list[str] = []
    while (prompt := history.older(draft if not back else back[-1])) is not None:
        back.append(prompt)
    assert back == prompts[::-1]
    forth = []
    while (prompt := history.newer()) is not None:
        forth.append(prompt)
    assert forth == ([*prompts[1:], draft] if prompts else [])


def test_the_history_has_a_bound() -> None:
    history = PromptHistory(str(at) for at in range(MAX_PROMPTS + 5))
    n_prompts = 0
    while history.older("") is not None:
        n_prompts += 1
    assert n_prompts == MAX_PROMPTS
