"""Messages arrive in order, and a step that holds only aborted work is cut short."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from server.engine.inbox import Inbox
from server.ipc.framing import write_frame
from server.ipc.messages import Abort, Shutdown, Tokenize


@pytest.fixture
def pipe() -> Iterator[tuple[Inbox, int]]:
    """An inbox that reads; its stream never ends, since the end of it ends the process."""
    read_fd, write_fd = os.pipe()
    inbox = Inbox(read_fd)
    inbox.start()
    yield inbox, write_fd


class Flag:
    """Counts the aborts of a step."""

    def __init__(self) -> None:
        self.n = 0

    def __call__(self) -> None:
        self.n += 1


def test_messages_come_in_order_and_nothing_is_none(pipe: tuple[Inbox, int]) -> None:
    inbox, fd = pipe
    assert inbox.take(0) is None
    sent = [Tokenize(request_id=n, texts=()) for n in range(50)]
    for message in sent:
        write_frame(fd, message)
    assert [inbox.take(5.0) for _ in sent] == sent
    assert not inbox.is_closing
    write_frame(fd, Shutdown())
    assert inbox.take(5.0) == Shutdown()
    assert inbox.is_closing


def test_a_step_is_aborted_once_all_of_its_requests_are(pipe: tuple[Inbox, int]) -> None:
    inbox, fd = pipe
    flag = Flag()
    inbox.step_begins([1, 2], flag)
    for request_id in (1, 3):
        write_frame(fd, Abort(request_id))
        assert inbox.take(5.0) == Abort(request_id)
    assert flag.n == 0
    write_frame(fd, Abort(2))
    # A later message proves that the reader is past the abort.
    write_frame(fd, Tokenize(request_id=9, texts=()))
    assert inbox.take(5.0) == Abort(2)
    assert inbox.take(5.0) is not None
    assert flag.n == 1


def test_a_step_of_aborted_requests_is_aborted_when_it_begins(pipe: tuple[Inbox, int]) -> None:
    inbox, fd = pipe
    write_frame(fd, Abort(1))
    write_frame(fd, Tokenize(request_id=9, texts=()))
    while inbox.take(5.0) == Abort(1):
        pass
    flag = Flag()
    inbox.step_begins([1], flag)
    assert flag.n == 1


def test_aborts_outside_of_a_step_or_of_ended_requests_abort_nothing(pipe: tuple[Inbox, int]) -> None:
    inbox, fd = pipe
    flag = Flag()
    inbox.step_begins([1], flag)
    inbox.step_ends()
    write_frame(fd, Abort(1))
    write_frame(fd, Tokenize(request_id=9, texts=()))
    while inbox.take(5.0) == Abort(1):
        pass
    inbox.forget(1)
    inbox.step_begins([1], flag)
    assert flag.n == 0
