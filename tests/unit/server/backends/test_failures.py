from __future__ import annotations

from typing import get_args

import pytest

from server.backends.failures import (
    circuit_error,
    crash_line,
    end_error,
    load_ended_error,
    load_error,
    request_error,
)
from server.backends.mailbox import SessionEnd
from server.errors import (
    BadModelFile,
    Busy,
    ContextExceeded,
    EngineCrashed,
    EngineError,
    EngineHung,
    InvalidGrammar,
    InvalidRequest,
    LoadFailed,
    OllaError,
    OutOfMemory,
    ShuttingDown,
)
from server.ipc.messages import Failed, FailureKind
from server.ipc.messages import LoadFailed as LoadFailedMessage

CLASSES: dict[FailureKind, type[OllaError]] = {
    "invalid_request": InvalidRequest,
    "invalid_grammar": InvalidGrammar,
    "context_exceeded": ContextExceeded,
    "bad_model_file": BadModelFile,
    "out_of_memory": OutOfMemory,
    "load_failed": LoadFailed,
    "busy": Busy,
    "engine": EngineError,
}


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_each_kind_of_failure_has_its_class(kind: FailureKind) -> None:
    error = request_error(Failed(request_id=1, kind=kind, message="why", n_prompt_tokens=9, n_ctx=4))
    assert type(error) is CLASSES[kind]
    assert error.message == "why"


def test_exceeded_context_keeps_its_numbers() -> None:
    failed = Failed(request_id=1, kind="context_exceeded", message="long", n_prompt_tokens=9, n_ctx=4)
    error = request_error(failed)
    assert isinstance(error, ContextExceeded)
    assert (error.n_prompt_tokens, error.n_ctx) == (9, 4)


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_a_failed_load_is_one_of_three(kind: FailureKind) -> None:
    error = load_error(LoadFailedMessage(kind, "why"), "first\nlast")
    assert type(error) in (LoadFailed, OutOfMemory, BadModelFile)
    assert error.message == "why"
    assert error.hint


def test_hint_ends_with_the_last_lines() -> None:
    log_tail = "\n".join(str(n) for n in range(20))
    error = load_ended_error(SessionEnd(cause="crashed", exit_code=-11, log_tail=log_tail, in_load=True))
    assert "SIGSEGV" in error.message
    assert error.hint == "the engine's last lines: 17 | 18 | 19"


def test_ends_of_a_worker() -> None:
    crashed = end_error("m", SessionEnd(cause="crashed", exit_code=-6, log_tail="boom"))
    assert isinstance(crashed, EngineCrashed)
    assert (crashed.exit_code, crashed.log_tail) == (-6, "boom")
    assert crashed.message.startswith("model runner has unexpectedly stopped")
    assert "SIGABRT" in crashed.message
    assert isinstance(end_error("m", SessionEnd(cause="hung", detail="silent")), EngineHung)
    assert isinstance(end_error("m", SessionEnd(cause="closed")), ShuttingDown)


def test_open_circuit_says_why_until_when_and_what_to_do() -> None:
    last = SessionEnd(cause="crashed", exit_code=-6, log_tail="loaded\nGGML_ASSERT(x) failed")
    error = circuit_error("m:1", 12.4, last, n_crashes=3, window_s=300.0)
    assert isinstance(error, EngineCrashed)
    assert error.message == (
        "the engine of 'm:1' has stopped unexpectedly 3 times within 5 minutes; it is started again in 13 s,"
        " or at once after 'olla stop m:1' (killed by SIGABRT; its last line: GGML_ASSERT(x) failed)"
    )
    assert error.hint.endswith("loaded | GGML_ASSERT(x) failed")
    assert (error.exit_code, error.log_tail) == (-6, last.log_tail)


def test_open_circuit_of_a_silent_worker() -> None:
    last = SessionEnd(cause="hung", detail="no sign of life for 120 s")
    message = circuit_error("m", 0.0, last, n_crashes=3, window_s=300.0).message
    assert "in 1 s" in message
    assert message.endswith("(no sign of life for 120 s; its last line: none)")


@pytest.mark.parametrize(
    ("n_open", "words"), [(0, "while it was idle"), (1, "1 open request"), (3, "3 open requests")]
)
def test_the_log_tells_what_a_crash_left_open(n_open: int, words: str) -> None:
    assert crash_line(SessionEnd(cause="crashed", exit_code=-9, n_open=n_open)).endswith(words)


def test_the_log_tells_of_a_crash_in_the_load() -> None:
    assert crash_line(SessionEnd(cause="crashed", exit_code=-9, in_load=True)).endswith(
        "while it loaded the model"
    )
