import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state.commands import COMMANDS, parse
from olla_tui.state.completion import (
    Candidate,
    Completion,
    command_candidates,
    file_candidates,
    target_of,
)
from olla_tui.state.fuzzy import best, rank
from olla_tui.state.graphs import UNICODE
from olla_tui.state.rows import plain, width_of


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("/", ("command", 0, "")),
        ("/mo", ("command", 0, "mo")),
        ("/model ", None),
        ("see @", ("file", 4, "")),
        ("see @src/ma", ("file", 4, "src/ma")),
        ('see @"a b', ("file", 4, "a b")),
        ("mail me@home", None),
        ("@a\n@b", ("file", 3, "b")),
        ("@a b", None),
        ("", None),
    ],
)
def test_what_is_completed(before, found):
    assert target_of(before) == found


@pytest.mark.parametrize(
    ("text", "kind", "rest"),
    [
        ("/new", "command", ""),
        ("/model qwen3", "command", "qwen3"),
        ("/system Be\nbrief.", "command", "Be\nbrief."),
        ("/usr/bin is a folder", "prompt", "/usr/bin is a folder"),
        (" /new", "prompt", " /new"),
        ("!ls -l", "shell", "ls -l"),
        ("!", "prompt", "!"),
        ("! ", "prompt", "! "),
        ("Hi!", "prompt", "Hi!"),
    ],
)
def test_what_a_prompt_is(text, kind, rest):
    parsed = parse(text)
    assert (parsed.kind, parsed.rest) == (kind, rest)


def test_an_unknown_command_is_said_with_what_was_meant():
    parsed = parse("/modle x")
    assert parsed.kind == "unknown" and "did you mean /model?" in parsed.rest


def test_commands_stand_in_order():
    names = [command.name for command in COMMANDS]
    assert names == sorted(names)
    assert [entry.text for entry in command_candidates("")] == [f"/{name}" for name in names]
    assert command_candidates("mo")[0].text == "/model"


def test_the_nearest_file_is_first():
    names = ["docs/readme.md", "src/main.py", "src/domain.py", "main/other.txt"]
    assert best("main", names, 2) == ["src/main.py", "src/domain.py"]
    assert best("smp", names, 9) == ["src/main.py", "src/domain.py"]
    assert [entry.text for entry in file_candidates("b", ["a b.txt"])] == ['@"a b.txt"']


@given(st.text(max_size=6), st.text(max_size=12))
def test_whatever_stands_in_a_name_is_found(query, name):
    inside = f"{name}{query}{name}"
    assert rank(query, inside) is not None or query.lower() not in inside.lower()


@given(st.integers(1, 40), st.lists(st.integers(-3, 3)), st.integers(10, 60))
def test_the_chosen_entry_is_always_to_be_seen(count, steps, width):
    completion = Completion()
    completion.show(target_of("/"), [Candidate(f"/entry{number}", "note") for number in range(count)])
    for step in steps:
        completion.move(step)
        rows = completion.rows(width, UNICODE)
        assert sum(UNICODE.cursor in plain(row) for row in rows) == 1
        assert all(width_of(row) == width for row in rows)
        assert completion.chosen() == completion.candidates[completion.cursor]


def test_a_list_that_was_closed_stays_closed_until_something_else_is_completed():
    completion = Completion()
    completion.show(target_of("/n"), command_candidates("n"))
    completion.close()
    completion.show(target_of("/ne"), command_candidates("ne"))
    assert not completion.is_open
    completion.show(target_of("a"), [])
    completion.show(target_of("/ne"), command_candidates("ne"))
    assert completion.is_open
