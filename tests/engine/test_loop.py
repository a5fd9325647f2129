"""The worker's loop, within this process."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import msgspec
import pytest

from server.engine.inbox import Inbox
from server.engine.loading import Engine
from server.engine.loop import Loop
from server.engine.model import Model
from server.engine.outbox import Outbox
from server.ipc.framing import FROM_ENGINE, decode, read_frame
from server.ipc.messages import Bye, Failed, Finished, FromEngine, Shutdown, Submit, Tokenize, Tokens
from server.types.generation import SamplingParams


def said_by(engine: Engine, inbox: Inbox) -> list[FromEngine]:
    """All that a loop says until it leaves, for which the inbox has to tell it."""
    said, written = os.pipe()
    try:
        Loop(engine, inbox, Outbox(written)).run()
    finally:
        gc.unfreeze()
        gc.enable()
        os.close(written)
    answers: list[FromEngine] = []
    while (frame := read_frame(said)) is not None:
        answers.append(decode(frame, FROM_ENGINE))
    os.close(said)
    return answers


class Encoding:
    """An intake whose one request is never ready."""

    is_busy = True

    def forget_all(self) -> tuple[int, ...]:
        self.is_busy = False
        return (7,)


@pytest.mark.timeout(60)
def test_who_is_to_leave_does_not_wait_for_a_picture(
    spark: Model, make_engine: Callable[..., Engine]
) -> None:
    inbox = Inbox(-1)
    inbox._put(Shutdown(grace_s=0.01))
    engine = msgspec.structs.replace(make_engine(spark), media=Encoding())
    cancelled, bye = said_by(engine, inbox)
    assert isinstance(cancelled, Finished) and (cancelled.request_id, cancelled.reason) == (7, "cancelled")
    assert isinstance(bye, Bye)


def test_a_fault_nobody_expected_costs_one_request(
    spark: Model,
    make_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine = make_engine(spark)
    assert engine.generator is not None

    def break_down(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(engine.generator, "submit", break_down)
    inbox = Inbox(-1)
    for message in (
        Submit(request_id=1, prompt=("x",), sampling=SamplingParams()),
        Tokenize(request_id=2, texts=("Hello",)),
        Shutdown(),
    ):
        inbox._put(message)  # as the thread does that reads what the server sends
    answers = said_by(engine, inbox)
    failed, tokens, bye = answers
    assert isinstance(failed, Failed) and failed.request_id == 1
    assert "ZeroDivisionError: of all things" in failed.message
    assert isinstance(tokens, Tokens) and tokens.request_id == 2
    assert isinstance(bye, Bye)
    assert "Traceback" in capfd.readouterr().err
