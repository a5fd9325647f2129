import asyncio
import os
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.files.attach import MAX_FILE_BYTES, make_draft, names_files
from olla_tui.files.shell import MAX_OUTPUT_BYTES, run_line
from olla_tui.files.walk import list_beside, list_files
from server.errors import InvalidImage, InvalidRequest
from tests.support.until import until


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("print()\n")
    (tmp_path / "a b.txt").write_text("spaced")
    (tmp_path / "cat.png").write_bytes(PNG)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "left.js").write_text("x")
    (tmp_path / ".secret").write_text("x")
    return tmp_path


def test_files_are_found_without_hidden_and_generated_ones(folder):
    assert list_files(folder) == ["a b.txt", "cat.png", "src/main.py"]
    assert list_files(folder, max_files=1) == ["a b.txt"]
    assert list_files(folder / "none") == []


def test_a_link_in_a_circle_ends(folder):
    (folder / "src" / "round").symlink_to(folder)
    assert list_files(folder) == ["a b.txt", "cat.png", "src/main.py"]


def test_paths_outside_are_listed_as_they_are_written(folder):
    expected = [f"{folder}/{name}" for name in ("src/", "a b.txt", "cat.png")]
    assert list_beside(f"{folder}/s", folder) == expected
    assert "../src/" in list_beside("../s", folder / "src")


def test_named_files_go_along(folder):
    draft = make_draft('See @src/main.py, and @"a b.txt" and @cat.png. Ask @john about @src', folder)
    assert [(file.name, file.text) for file in draft.files] == [
        ("src/main.py", "print()\n"),
        ("a b.txt", "spaced"),
    ]
    assert [(part.name, part.data) for part in draft.media] == [("cat.png", PNG)]
    assert draft.text.startswith("See @src/main.py,")


def test_a_picture_is_taken_by_its_bare_path(folder):
    draft = make_draft(f"What is this? {folder}/cat.png", folder)
    assert draft.text == "What is this?" and [part.name for part in draft.media] == ["cat.png"]
    assert names_files("/x/y.png") and names_files("see @a") and not names_files("a@b.c and 1/2")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("big.txt", b"x" * (MAX_FILE_BYTES + 1), "more than 256 kB"),
        ("bin.dat", b"a\0b", "binary file"),
        ("latin.txt", b"\xff\xfe\xfa", "binary file"),
        ("fake.png", b"no picture", "invalid file type"),
    ],
)
def test_what_cannot_go_along_is_refused(folder, name, data, reason):
    (folder / name).write_bytes(data)
    with pytest.raises((InvalidRequest, InvalidImage), match=reason):
        make_draft(f"See @{name}", folder)


def test_a_pipe_is_refused_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidRequest, match="is no file"):
        make_draft("@pipe", folder)


@given(st.text(max_size=80))
def test_any_prompt_without_files_stays_as_it_is(text):
    if "@" not in text and not names_files(text):
        assert make_draft(text, Path("/nonexistent")).text == text


async def test_a_line_of_the_shell(tmp_path):
    result = await run_line("echo out; echo err >&2; pwd", tmp_path)
    assert result.output.splitlines()[:2] == ["out", "err"] and result.problem == ""
    assert (await run_line("exit 3", tmp_path)).problem == "ended with status 3"
    assert (await run_line("read line && echo $line", tmp_path)).output == ""


async def test_a_line_that_says_too_much_is_cut(tmp_path):
    result = await run_line("yes", tmp_path)
    assert len(result.output) == MAX_OUTPUT_BYTES and result.problem == "cut at 64 kB"


async def test_a_line_that_takes_too_long_is_ended(tmp_path):
    assert (await run_line("sleep 1000", tmp_path, timeout_s=0.01)).problem == "ended after 0.01 s"


async def test_a_line_that_is_cancelled_ends_with_all_it_started(tmp_path):
    running = asyncio.create_task(run_line("sleep 1000 & echo $! > part; mv part pid; wait", tmp_path))
    await until(lambda: (tmp_path / "pid").exists())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: not is_running(pid))


@pytest.mark.parametrize("n_turns", range(0, 24, 3))
async def test_a_line_that_is_cancelled_while_it_starts_leaves_nothing(tmp_path, n_turns):
    running = asyncio.create_task(run_line("sleep 1000 & wait", tmp_path))
    for _ in range(n_turns):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 20.0)
    await until(lambda: all(process.info["cwd"] != str(tmp_path) for process in psutil.process_iter(["cwd"])))
