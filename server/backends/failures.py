"""From what a worker reports, or leaves behind, to the error classes of `server.errors`. Pure."""

from __future__ import annotations

import math

from server.backends.log_tail import hint_of
from server.backends.mailbox import SessionEnd
from server.backends.process import describe_exit
from server.errors import (
    BadModelFile,
    Busy,
    ContextExceeded,
    CrashLoop,
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

OUT_OF_MEMORY_HINT = "a smaller num_ctx, a smaller quantization or unloading other models needs less memory"
CRASH_SENTENCE = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error"
)
"""The sentence that clients of Ollama know."""

_CLASSES: dict[FailureKind, type[OllaError]] = {
    "invalid_request": InvalidRequest,
    "invalid_grammar": InvalidGrammar,
    "bad_model_file": BadModelFile,
    "load_failed": LoadFailed,
    "busy": Busy,
    "engine": EngineError,
}


def request_error(failed: Failed) -> OllaError:
    """The error for a request that the worker refused or could not finish."""
    if failed.kind == "context_exceeded":
        advice = "shorten it, or raise num_ctx"
        if str(failed.n_prompt_tokens) in failed.message:
            message, hint = f"{failed.message}; {advice}", advice
        else:  # Ollama's words, which tell no numbers
            message = failed.message
            hint = f"it has {failed.n_prompt_tokens} tokens, and {failed.n_ctx} fit; {advice}"
        return ContextExceeded(
            message,
            hint=hint,
            n_prompt_tokens=failed.n_prompt_tokens,
            n_ctx=failed.n_ctx,
        )
    if failed.kind == "out_of_memory":
        return OutOfMemory(failed.message, hint=OUT_OF_MEMORY_HINT)
    return _CLASSES[failed.kind](failed.message)


def load_error(failed: LoadFailedMessage, log_tail: str) -> OllaError:
    """The error for a model that the worker could not load; the hint ends with the worker's last lines."""
    if failed.kind == "out_of_memory":
        return OutOfMemory(failed.message, hint=OUT_OF_MEMORY_HINT)
    if failed.kind == "bad_model_file":
        return BadModelFile(failed.message, hint=hint_of(log_tail))
    return LoadFailed(failed.message, hint=hint_of(log_tail))


def load_ended_error(end: SessionEnd) -> LoadFailed:
    """The error for a worker that ended while it loaded."""
    return LoadFailed(
        f"the engine stopped while it loaded the model ({describe_exit(end.exit_code)})",
        hint=hint_of(end.log_tail),
    )


def end_error(name: str, end: SessionEnd) -> OllaError:
    """The error for a request whose worker is gone."""
    if end.cause == "closed":
        return ShuttingDown(f"the model '{name}' is being unloaded", hint="send the request again")
    if end.cause == "hung":
        return EngineHung(f"the engine of '{name}' stopped answering and was ended", hint=end.detail)
    return EngineCrashed(
        f"{CRASH_SENTENCE} ({end.detail or describe_exit(end.exit_code)})",
        hint=hint_of(end.log_tail) or "the next request starts the model again",
        exit_code=end.exit_code,
        log_tail=end.log_tail,
    )


def circuit_error(
    name: str, closes_in_s: float, last: SessionEnd, *, n_crashes: int, window_s: float
) -> CrashLoop:
    """The error while the model is not started again because it crashes too often."""
    last_line = last.log_tail.rpartition("\n")[2]
    minutes = window_s / 60
    why = last.detail or describe_exit(last.exit_code)
    return CrashLoop(
        f"the engine of '{name}' has stopped unexpectedly {n_crashes} times within {minutes:.0f} minutes;"
        f" it is started again in {max(1, math.ceil(closes_in_s))} s, or at once after 'olla stop {name}'"
        f" ({why}; its last line: {last_line or 'none'})",
        hint=hint_of(last.log_tail),
        exit_code=last.exit_code,
        log_tail=last.log_tail,
    )


def crash_line(end: SessionEnd) -> str:
    """A line for the log when a worker is gone."""
    why = f"the engine stopped unexpectedly ({end.detail or describe_exit(end.exit_code)})"
    if end.in_load:
        return f"{why} while it loaded the model"
    if end.n_open == 0:
        return f"{why} while it was idle"
    return f"{why} with {end.n_open} open request{'s' if end.n_open > 1 else ''}"
