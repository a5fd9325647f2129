from __future__ import annotations

from server.backends.log_tail import (
    HINT_LINE_CHARS,
    LOG_LINE_CHARS,
    LOG_TAIL_LINES,
    LogTail,
    hint_of,
    leveled,
)


def test_levels_of_lines() -> None:
    assert leveled("error: no memory: none") == ("error", "no memory: none")
    assert leveled("warn: slow") == ("warning", "slow")
    assert leveled("error") == ("info", "error")
    assert leveled("Traceback: x") == ("info", "Traceback: x")


def test_log_is_cut_into_lines_wherever_the_bytes_are_cut() -> None:
    lines: list[str] = []
    tail = LogTail(lines.append)
    for byte in "eins\nzwölf\r\n\nend".encode():
        tail.feed(bytes((byte,)))
    tail.finish()
    assert lines == ["eins", "zwölf", "end"]
    assert tail.text == "eins\nzwölf\nend"


def test_log_is_bounded() -> None:
    tail = LogTail(None)
    tail.feed(b"x" * (3 * LOG_LINE_CHARS + 1))
    for number in range(LOG_TAIL_LINES + 50):
        tail.feed(f"{number}\n".encode())
    kept = tail.text.splitlines()
    assert len(kept) == LOG_TAIL_LINES
    assert kept[-1] == str(LOG_TAIL_LINES + 49)


def test_kept_lines_reach_a_later_listener() -> None:
    tail = LogTail(None)
    tail.feed(b"before\n")
    lines: list[str] = []
    tail.forward_to(lines.append)
    tail.feed(b"after\n")
    assert lines == ["before", "after"]


def test_a_hint_is_the_last_lines_that_tell_something() -> None:
    log = "loading\nerror: no tensor 'x'\nwarn: slow\nwarn: slower\nGGML_ASSERT(n > 0) failed\ndebug: bye\n"
    assert (
        hint_of(log) == "the engine's last lines: loading | error: no tensor 'x' | GGML_ASSERT(n > 0) failed"
    )


def test_a_hint_has_no_frames_of_a_traceback() -> None:
    log = """warn: slow
Traceback (most recent call last):
  File "engine.py", line 3, in <module>
    import llama_cpp
    ^^^^^^^^^^^^^^^^
ImportError: libgomp.so.1: cannot open shared object file
"""
    assert hint_of(log) == (
        "the engine's last lines: ImportError: libgomp.so.1: cannot open shared object file"
    )


def test_a_hint_is_short() -> None:
    log = "\n".join(letter * 5000 for letter in "abcdef")
    assert hint_of(log) == "the engine's last lines: " + " | ".join(
        letter * HINT_LINE_CHARS for letter in "def"
    )


def test_a_hint_of_warnings_alone_and_of_nothing() -> None:
    assert hint_of("warn: one\nwarn: two") == "the engine's last lines: warn: one | warn: two"
    assert hint_of(" \n") == hint_of("") == ""
