"""The height index against plain sums."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.text.blocks import split
from olla_tui.text.heights import HeightIndex, estimate_lines
from olla_tui.text.markdown import lay_out
from olla_tui.text.styles import TextStyles
from tests.support.markdown_text import markdown

changes = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 50), st.just(0)),
        st.tuples(st.just("set"), st.integers(0, 50), st.integers(0, 100)),
        st.tuples(st.just("truncate"), st.integers(0, 20), st.just(0)),
    ),
    max_size=40,
)


@given(st.lists(st.integers(1, 50), max_size=20), changes)
def test_agrees_with_a_list(heights: list[int], steps: list[tuple[str, int, int]]) -> None:
    index, model = HeightIndex(heights), list(heights)
    for step, a, b in steps:
        if step == "append":
            index.append(a)
            model.append(a)
        elif step == "truncate":
            index.truncate(a)
            del model[a:]
        elif model:
            index.set(a % len(model), b)
            model[a % len(model)] = b
        assert len(index) == len(model)
        assert index.total == sum(model)
    tops = [0, *accumulate(model)]
    assert [index.top(at) for at in range(len(model) + 1)] == tops
    for line in range(index.total):
        at, rest = index.find(line)
        assert tops[at] + rest == line
        assert rest < model[at]


def test_lines_past_the_ends_give_the_first_and_the_last() -> None:
    index = HeightIndex([2, 3])
    assert index.find(-5) == (0, 0)
    assert index.find(99) == (1, 2)
    with pytest.raises(IndexError):
        HeightIndex().find(0)


@given(markdown, st.integers(20, 120))
def test_an_estimate_is_not_far_off(text: str, width: int) -> None:
    exact = sum(len(lay_out(block, width, TextStyles())) + block.gap for block in split(text))
    assert estimate_lines(text, width) <= 3 * exact + len(text.split("\n"))
    assert exact <= 6 * estimate_lines(text, width) + 8


def test_wide_characters_count_two_cells() -> None:
    assert estimate_lines("漢" * 40, 40) == 2
