"""Tables: columns, padding and wrapping as Ollama's have them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from olla_tui.cli.tables import PADDING, table, text_width


def test_padding_of_header_and_rows() -> None:
    text = table(("NAME", "ID", "SIZE", "MODIFIED"), [["model1", "sha256:abc12", "1.0 KB", "24 hours ago"]])
    assert text == (
        "NAME      ID              SIZE      MODIFIED     \n"
        "model1    sha256:abc12    1.0 KB    24 hours ago    \n"
    )


def test_no_rows_is_the_header_alone() -> None:
    assert table(("NAME", "ID"), []) == "NAME    ID \n"


def test_no_header() -> None:
    assert table((), [["", "a", "bc"], ["", "def"]]) == "    a      bc    \n    def          \n"


def test_wide_characters_take_two_columns() -> None:
    lines = table((), [["日本", "x"], ["abcd", "x"]]).splitlines()
    assert {text_width(line) for line in lines} == {4 + 4 + 1 + 4}


def test_long_cells_wrap_on_spaces_alone() -> None:
    words = "aaaa bbbb cccc"
    assert table((), [[words]], cell_width=9) == "aaaa bbbb    \ncccc         \n"
    assert table((), [["x" * 40]]) == "x" * 40 + "    \n"


@given(st.lists(st.lists(st.text("ab ", min_size=1, max_size=60).map(str.strip), max_size=4), max_size=5))
def test_every_line_is_as_wide_as_the_widest(rows: list[list[str]]) -> None:
    lines = table(("A", "B"), rows).splitlines()[1:]
    assert len({len(line) for line in lines}) <= 1
    shown = " ".join(lines).split()
    assert sorted(shown) == sorted(" ".join(cell for row in rows for cell in row).split())
    assert all(line.endswith(PADDING) for line in lines)
