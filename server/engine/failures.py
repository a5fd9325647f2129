"""What can go wrong inside a worker, as exceptions that become `Failed` or `LoadFailed` messages.

Where llama.cpp would end the process (an assertion, or a C++ exception that crosses into C), the engine
raises one of these before the call.
"""

from __future__ import annotations

import traceback

from server.errors import EngineError
from server.ipc.messages import Failed, FailureKind


class EngineFailure(EngineError):
    """Base of the worker's errors.

    Attributes:
        kind: how the server classes it.
        n_prompt_tokens: tokens in the prompt, where that matters.
        n_ctx: tokens of context, where that matters.
    """

    kind: FailureKind = "engine"

    def __init__(self, message: str, *, n_prompt_tokens: int = 0, n_ctx: int = 0) -> None:
        super().__init__(message)
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx

    def as_message(self, request_id: int) -> Failed:
        """The end of a request that failed like this."""
        return Failed(
            request_id=request_id,
            kind=self.kind,
            message=self.message,
            n_prompt_tokens=self.n_prompt_tokens,
            n_ctx=self.n_ctx,
        )


class BadRequest(EngineFailure):
    """A request that no model could answer: an unknown token id, an empty prompt, a sampler out of range."""

    kind: FailureKind = "invalid_request"


class EngineBusy(EngineFailure):
    """A request that there is no room to queue."""

    kind: FailureKind = "busy"


class BadGrammar(EngineFailure):
    """A grammar that llama.cpp does not parse, or that allows nothing at all."""

    kind: FailureKind = "invalid_grammar"


class ContextFull(EngineFailure):
    """A prompt or input that does not fit the context."""

    kind: FailureKind = "context_exceeded"


class BadModel(EngineFailure):
    """A model file that is missing, damaged or of an unknown kind."""

    kind: FailureKind = "bad_model_file"


class LoadRefused(EngineFailure):
    """A sound model file that could not be loaded as asked."""

    kind: FailureKind = "load_failed"


class NoMemory(EngineFailure):
    """The model, its context or a step does not fit in memory."""

    kind: FailureKind = "out_of_memory"


class InvalidBatch(EngineFailure):
    """A batch that llama.cpp would end the process over, or that it refused."""


class DecodeFailed(EngineFailure):
    """llama_decode gave up; the state of the cache is unknown."""


def unexpected(what: str, error: Exception) -> EngineFailure:
    """The failure of one request by a fault that nobody foresaw; all that is known of it goes to the log."""
    traceback.print_exception(error)
    return EngineFailure(f"{what}: {type(error).__name__}: {error}")
