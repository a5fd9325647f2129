"""Everything that can go wrong, as classes that know no HTTP.

Each error carries a sentence for the user (`message`) and, where there is one, what to do (`hint`).
The HTTP status of a class stands in `server.api.errors`; the command line and the screen print both fields.

    OllaError
    ├─ InvalidRequest
    │  ├─ InvalidModelName
    │  ├─ InvalidOption
    │  ├─ InvalidFormat
    │  ├─ InvalidGrammar
    │  ├─ InvalidImage
    │  ├─ InvalidModelfile
    │  ├─ InvalidTemplate
    │  ├─ CapabilityMissing
    │  └─ ContextExceeded
    ├─ NotFound
    │  ├─ ModelNotFound
    │  ├─ BlobNotFound
    │  └─ RequestNotFound
    ├─ Forbidden
    ├─ Busy
    │  ├─ QueueFull
    │  └─ ShuttingDown
    ├─ Cancelled
    ├─ StoreError
    │  ├─ DigestMismatch
    │  ├─ DiskFull
    │  └─ BadModelFile
    ├─ TransferFailed
    │  ├─ RegistryError
    │  └─ RegistryUnreachable
    ├─ ServerUnreachable
    └─ EngineError
       ├─ LoadFailed
       ├─ OutOfMemory
       ├─ EngineCrashed
       │  └─ CrashLoop
       └─ EngineHung
"""

from __future__ import annotations

__all__ = [
    "BadModelFile",
    "BlobNotFound",
    "Busy",
    "Cancelled",
    "CapabilityMissing",
    "ContextExceeded",
    "CrashLoop",
    "DigestMismatch",
    "DiskFull",
    "EngineCrashed",
    "EngineError",
    "EngineHung",
    "Forbidden",
    "InvalidFormat",
    "InvalidGrammar",
    "InvalidImage",
    "InvalidModelName",
    "InvalidModelfile",
    "InvalidOption",
    "InvalidRequest",
    "InvalidTemplate",
    "LoadFailed",
    "ModelNotFound",
    "NotFound",
    "OllaError",
    "OutOfMemory",
    "QueueFull",
    "RegistryError",
    "RegistryUnreachable",
    "RequestNotFound",
    "ServerUnreachable",
    "ShuttingDown",
    "StoreError",
    "TransferFailed",
]


class OllaError(Exception):
    """Base of every error that a user may see.

    Attributes:
        message: one sentence that says what is wrong.
        hint: what to do about it, or "".
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class InvalidRequest(OllaError):
    """The caller asked for something that cannot be meant."""


class InvalidModelName(InvalidRequest):
    """A model name that breaks the grammar of `server.types.names`."""


class InvalidOption(InvalidRequest):
    """A generation option of a wrong type or outside its range."""


class InvalidFormat(InvalidRequest):
    """`format` is neither "json" nor a JSON schema that can be enforced."""


class InvalidGrammar(InvalidRequest):
    """A GBNF grammar that llama.cpp does not parse."""


class InvalidImage(InvalidRequest):
    """Bytes that are no image, or an image for a model that sees none."""


class InvalidModelfile(InvalidRequest):
    """A Modelfile that breaks the grammar.

    Attributes:
        line: 1-based line of the fault, 0 when the whole file is meant.
    """

    def __init__(self, message: str, *, hint: str = "", line: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.line = line


class InvalidTemplate(InvalidRequest):
    """A prompt template that does not parse or fails while it renders."""


class CapabilityMissing(InvalidRequest):
    """The model cannot do what the request needs."""


class ContextExceeded(InvalidRequest):
    """The prompt does not fit the context and may not be truncated.

    Attributes:
        n_prompt_tokens: tokens in the prompt, 0 when not known.
        n_ctx: tokens that fit, 0 when not known.
    """

    def __init__(self, message: str, *, hint: str = "", n_prompt_tokens: int = 0, n_ctx: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.n_prompt_tokens = n_prompt_tokens
        self.n_ctx = n_ctx


class NotFound(OllaError):
    """What was asked for does not exist."""


class ModelNotFound(NotFound):
    """No such model in the store.

    Attributes:
        name: the name as the caller wrote it.
    """

    def __init__(self, name: str, *, hint: str = "") -> None:
        super().__init__(f"model '{name}' not found", hint=hint)
        self.name = name


class BlobNotFound(NotFound):
    """No blob of that digest in the store."""


class RequestNotFound(NotFound):
    """No open request of that id."""


class Forbidden(OllaError):
    """Refused by policy: a foreign Host or Origin, or a cloud model."""


class Busy(OllaError):
    """The server cannot take the request now; trying again later can help."""


class QueueFull(Busy):
    """More requests wait than the queue may hold."""


class ShuttingDown(Busy):
    """The server is going down."""


class Cancelled(OllaError):
    """The caller, or somebody for them, cancelled the request."""


class StoreError(OllaError):
    """The model store cannot do what was asked."""


class DigestMismatch(StoreError):
    """Bytes that are not those of the digest they came under."""


class DiskFull(StoreError):
    """No room on the disk of the model store."""


class BadModelFile(StoreError):
    """A model file that is damaged, of an unknown kind, or gone."""


class TransferFailed(OllaError):
    """A pull or push that could not be brought to its end."""


class RegistryError(TransferFailed):
    """A registry that refuses, or answers what cannot be used.

    Attributes:
        status: HTTP status of the reply, 0 for one that breaks the protocol.
    """

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RegistryUnreachable(TransferFailed):
    """A connection to a registry that cannot be made, broke off or stands still."""


class ServerUnreachable(OllaError):
    """No olla or Ollama server answers at the address."""


class EngineError(OllaError):
    """The engine could not finish what it began."""


class LoadFailed(EngineError):
    """The model could not be loaded."""


class OutOfMemory(EngineError):
    """The model or its context does not fit in memory.

    Attributes:
        needed_bytes: estimate of what the load needs, 0 when not known.
        free_bytes: what is free, 0 when not known.
    """

    def __init__(self, message: str, *, hint: str = "", needed_bytes: int = 0, free_bytes: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


class EngineCrashed(EngineError):
    """The worker process ended while requests were open.

    Attributes:
        exit_code: the process's exit code, negative for a signal.
        log_tail: the last lines that it wrote.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 0, log_tail: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code
        self.log_tail = log_tail


class CrashLoop(EngineCrashed):
    """The worker process ends so often that it is not started again for now."""


class EngineHung(EngineError):
    """The worker process stopped answering."""
