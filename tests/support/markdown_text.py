"""Random Markdown, rich in what a splitter may get wrong, and random ways to cut it into pieces."""

from __future__ import annotations

from hypothesis import strategies as st

FRAGMENTS = (
    "word",
    "two words",
    "*emphasis*",
    "**strong",
    "`code`",
    "[link](http://example.com)",
    "<b>html</b>",
    "漢字かな",
    "👩‍👩‍👧 é",
    "a\tb",
)
LINES = (
    "",
    "",
    "   ",
    "# Heading",
    "Title\n===",
    "---",
    "* * *",
    "- item",
    "* other list",
    "  - nested",
    "  continued",
    "1. one",
    "2) two",
    "10. ten",
    "-",
    "> quoted",
    ">",
    "    indented code",
    "\ttabbed",
    "```",
    "````",
    "```python",
    "  ```python title=x",
    "   ~~~",
    "~~~ info",
    "```a`b",
    "def f(x):",
    '    """doc',
    "| a | b |",
    "|---|--:|",
    "| 1 | 2 |",
    "[ref]: http://example.com",
)
CONTROL = (
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://x\x1b\\",
    "\x1b",
    "\r",
    "\r\n",
    "\x9b2J",
    "\x07",
    "\u202e",
)

line = st.one_of(st.sampled_from(LINES), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(" ".join))
markdown = st.lists(line, max_size=24).map("\n".join)
dirty_text = st.lists(
    st.one_of(st.sampled_from((*FRAGMENTS, *CONTROL, "\n")), st.text(max_size=5)), max_size=20
).map("".join)


@st.composite
def cuts(draw: st.DrawFn, text: st.SearchStrategy[str]) -> tuple[str, list[str]]:
    """A text, and the same text in pieces."""
    whole = draw(text)
    points = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    pieces = [whole[a:b] for a, b in zip([0, *points], [*points, len(whole)], strict=True)]
    return whole, pieces
