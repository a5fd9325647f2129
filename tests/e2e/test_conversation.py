"""`olla run` on a terminal: typed keys in, a screen out."""

from __future__ import annotations

import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path

import pyte
import pytest

from tests.e2e.conftest import Served

ROWS, COLUMNS = 40, 80
WAIT_S = 20.0

CTRL_C, CTRL_D, CTRL_J, ENTER, UP = "\x03", "\x04", "\n", "\r", "\x1b[A"


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, words: list[str], environ: dict[str, str], folder: Path) -> None:
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "olla_tui", *words],
            env={**environ, "TERM": "xterm-256color"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
            cwd=folder,
        )
        os.close(slave)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def screen(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).strip()

    def wait_for(self, text: str) -> str:
        """Read until a text is on the screen, and answer the questions that a terminal is asked."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.screen():
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not appear:\n{self.screen()}"
            if not self._read(left):
                raise AssertionError(f"{text!r} did not appear before the end:\n{self.screen()}")
        return self.screen()

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read(WAIT_S):
            pass
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], timeout_s)
        assert ready, f"nothing came:\n{self.screen()}"
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        if b"\x1b[6n" in data:
            self.type("\x1b[1;1R")
        self._stream.feed(data)
        return bool(data)


@pytest.fixture
def conversation(served: Served, tmp_path: Path) -> Iterator[Terminal]:
    environ = {**served.environ, "OLLA_HOME": str(tmp_path), "OLLAMA_EDITOR": f"{sys.executable} {EDITOR}"}
    terminal = Terminal(["run", "plain"], environ, tmp_path)
    terminal.wait_for("Send a message (/? for help)")
    yield terminal
    terminal.close()


EDITOR = Path(__file__).parent / "shouting_editor.py"


def test_question_answer_and_goodbye(conversation: Terminal, tmp_path: Path) -> None:
    conversation.type(f"/set parameter temperature 0{ENTER}")
    conversation.wait_for("Set parameter 'temperature' to '0'")
    conversation.type(f"What is the capital of France?{ENTER}")
    conversation.wait_for("The capital of France is Paris.")
    conversation.type(f"/set nosuch{ENTER}")
    conversation.wait_for("Unknown command '/set nosuch'. Type /? for help")
    conversation.type(f"/bye{ENTER}")
    assert conversation.finish() == 0
    assert "What is the capital of France?" in (tmp_path / "history").read_text()


def test_errors_do_not_end_the_conversation(conversation: Terminal) -> None:
    conversation.type(f"/set think{ENTER}")
    conversation.wait_for("Set 'think' mode.")
    conversation.type(f"Hi{ENTER}")
    conversation.wait_for('error: "plain" does not support thinking')
    conversation.type(f"/set nothink{ENTER}")
    conversation.wait_for("Set 'nothink' mode.")
    conversation.type(f"What is the capital of Peru?{ENTER}")
    conversation.wait_for("Lima")


def test_ctrl_c_at_the_prompt_explains_and_ctrl_d_leaves(conversation: Terminal) -> None:
    conversation.type(CTRL_C)
    conversation.wait_for("Use Ctrl + d or /bye to exit.")
    conversation.type(CTRL_C)
    conversation.type(CTRL_D)
    assert conversation.finish() == 0


def test_keys_typed_ahead_wait_for_the_prompt(conversation: Terminal) -> None:
    conversation.type(f"/show system{ENTER}/show license{ENTER}/bye{ENTER}")
    conversation.wait_for("No license was specified for this model.")
    assert conversation.finish() == 0


def test_several_lines_are_one_message(conversation: Terminal) -> None:
    conversation.type(f'/set system """{ENTER}')
    conversation.wait_for("...")
    conversation.type(f'Be brief."""{ENTER}')
    conversation.wait_for("Set system message.")
    conversation.type(f"/show system{ENTER}")
    conversation.wait_for("\nBe brief.")


def test_ctrl_g_edits_the_message_elsewhere(conversation: Terminal) -> None:
    conversation.type("quiet words\x07")
    conversation.wait_for("QUIET WORDS")
    conversation.type(CTRL_C)


def test_a_pasted_text_is_one_message(conversation: Terminal) -> None:
    conversation.type("\x1b[200~one\ntwo\x1b[201~")
    conversation.wait_for("... two")
    conversation.type(CTRL_C)
    conversation.type(CTRL_D)
    assert conversation.finish() == 0


def test_ctrl_c_stops_the_answer_and_keeps_the_conversation(conversation: Terminal) -> None:
    conversation.type(f"/set parameter num_predict -1{ENTER}")
    conversation.wait_for("Set parameter 'num_predict' to '-1'")
    conversation.type(f"/set parameter temperature 5{ENTER}")
    conversation.wait_for("Set parameter 'temperature' to '5'")
    conversation.type(f"Tell me a story.{ENTER}")
    conversation.wait_for(">>> Tell me a story.")
    conversation.type(CTRL_C)
    conversation.wait_for("Send a message (/? for help)")
    conversation.type(f"/show system{ENTER}")
    conversation.wait_for("No system message was specified for this model.")
