"""The services as their users see them: HTTP routes, command line and screen.

Three implementations: in this process (`server.services`), over HTTP (`olla_tui.client.remote`) and across
event loops (`olla_tui.client.crossloop`). Streams are asynchronous generators: their consumer wraps them in
`contextlib.aclosing`, and closing one cancels its request.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Protocol

from server.gguf.footprint import ModelFootprint
from server.types.generation import ChatRequest, EmbedRequest, EmbedResult, GenerateRequest, GenerationEvent
from server.types.history import StatusHistory
from server.types.messages import JsonObject
from server.types.models import (
    BundledModel,
    CreateProgress,
    CreateRequest,
    ModelInfo,
    ModelSummary,
    RunningModel,
    ShowRequest,
)
from server.types.ranking import RerankRequest, RerankResult
from server.types.responses import KeptResponse
from server.types.status import LogLine, RecordedPrompt, StatusSnapshot
from server.types.transfers import (
    PartialDownload,
    TransferKind,
    TransferList,
    TransferProgress,
    TransferRequest,
)
from server.types.upkeep import CheckProgress, GarbageReport


class InferenceService(Protocol):
    """Answers, completions, embeddings and rankings."""

    def chat(self, request: ChatRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Answer a conversation.

        Yields `Chunk`s and ends with `Completed`; with `render_only` yields one `Rendered`. Without messages
        the model is loaded (or, with `keep_alive_s` 0, unloaded) and only `Completed` comes.

        Raises: ModelNotFound, InvalidRequest and its kinds, Busy, EngineError.
        """
        ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        """Complete a prompt; as `chat`, with an empty prompt in the place of no messages."""
        ...

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Embed texts. Without inputs the model is loaded and the result is empty.

        Raises: ModelNotFound, ContextExceeded, InvalidRequest, Busy, EngineError.
        """
        ...

    async def rerank(self, request: RerankRequest) -> RerankResult:
        """Put documents in the order of how well they answer a query.

        Raises: ModelNotFound, CapabilityMissing, ContextExceeded, InvalidRequest, Busy, EngineError.
        """
        ...

    async def tokenize(self, model: str, text: str, *, add_special: bool = True) -> tuple[int, ...]:
        """Token ids of a text; `add_special`: with the model's BOS where it wants one. Loads the model."""
        ...

    async def detokenize(self, model: str, tokens: tuple[int, ...]) -> str:
        """The text of token ids, control tokens by name. Loads the model. Raises: InvalidRequest."""
        ...


class ModelService(Protocol):
    """The models in the store."""

    async def list_models(self) -> tuple[ModelSummary, ...]:
        """All models, newest first."""
        ...

    async def footprints(self) -> dict[str, ModelFootprint]:
        """What each model takes on the disk and in memory, by display name."""
        ...

    async def show(self, request: ShowRequest) -> ModelInfo:
        """All about one model. Raises: InvalidModelName, ModelNotFound, BadModelFile."""
        ...

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name. Raises: InvalidModelName, ModelNotFound, StoreError."""
        ...

    async def delete(self, name: str) -> None:
        """Remove a model and the blobs that only it refers to. Raises: InvalidModelName, ModelNotFound."""
        ...

    def create(self, request: CreateRequest) -> AsyncGenerator[CreateProgress, None]:
        """Make a model. Raises: InvalidRequest and its kinds, ModelNotFound, StoreError."""
        ...

    async def has_blob(self, digest: str) -> bool:
        """Whether a blob is in the store. Raises: InvalidRequest for a digest of a wrong form."""
        ...

    async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
        """Store a blob; False when it was there already. The body is read to its end in any case.

        Raises: InvalidRequest for a digest of a wrong form, DigestMismatch, DiskFull.
        """
        ...

    async def bundled(self) -> tuple[BundledModel, ...]:
        """Models that ship with olla."""
        ...

    async def install_bundled(self, name: str) -> None:
        """Put a bundled model into the store. Raises: ModelNotFound, StoreError."""
        ...


class StatusService(Protocol):
    """What runs, and the switches for it."""

    async def version(self) -> str:
        """Version of the server."""
        ...

    async def running(self) -> tuple[RunningModel, ...]:
        """Loaded models, latest expiry first."""
        ...

    async def snapshot(self) -> StatusSnapshot:
        """The whole server at this moment."""
        ...

    async def history(self, window_s: int) -> StatusHistory:
        """Devices and requests of the last `window_s` seconds, a day at most, in slots that grow with it."""
        ...

    async def unload(self, name: str) -> None:
        """Unload a model once its open requests have ended. Raises: ModelNotFound."""
        ...

    async def set_keep_alive(self, name: str, keep_alive_s: float) -> None:
        """Change how long a loaded model stays. Raises: ModelNotFound."""
        ...

    async def cancel_request(self, request_id: int) -> None:
        """End an open request; its caller gets `Cancelled`. Raises: RequestNotFound."""
        ...

    async def prompt(self, request_id: int) -> RecordedPrompt:
        """The prompt of a request as the model got it. Raises: RequestNotFound when none is kept of it."""
        ...

    async def logs(self, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        """Log lines with numbers above `after`, oldest first, at most the newest `limit`."""
        ...


class TransferService(Protocol):
    """Pulls and pushes. The same one twice is joined.

    A transfer goes on as long as somebody follows it, and one that `start_transfer` began goes on alone.
    """

    def pull(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        """Fetch a model from its registry, with Ollama's status lines; numbers never go back.

        What has come stays when it ends early, and is gone on with the next time.

        Raises: InvalidModelName, InvalidRequest, TransferFailed and its kinds, StoreError and its kinds,
            Cancelled when somebody else has cancelled it.
        """
        ...

    def push(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        """Send a model to its registry. Raises: ModelNotFound, and as `pull`."""
        ...

    async def start_transfer(self, kind: TransferKind, request: TransferRequest) -> int:
        """Begin a transfer that nobody has to follow, or let one under way go on alone.

        What becomes of it stands in the list.

        Returns: its id.
        Raises: InvalidModelName, InvalidRequest, ShuttingDown.
        """
        ...

    async def transfers(self) -> TransferList:
        """All transfers."""
        ...

    async def pause_transfer(self, transfer_id: int) -> None:
        """Stop fetching for now; those who follow wait. Raises: NotFound, as all methods below."""
        ...

    async def resume_transfer(self, transfer_id: int) -> None:
        """Go on with a transfer that was paused."""
        ...

    async def cancel_transfer(self, transfer_id: int) -> None:
        """End a transfer; those who follow get `Cancelled`."""
        ...

    async def forget_transfer(self, transfer_id: int) -> None:
        """Take one that has ended off the list. Raises: NotFound."""
        ...

    async def move_transfer(self, transfer_id: int, position: int) -> None:
        """Give a transfer another place among those that wait, 0 for the first."""
        ...

    async def limit_transfers(self, bytes_per_s: int, transfer_id: int | None = None) -> None:
        """Limit one transfer, or all together, from now on; 0: no limit."""
        ...

    async def partials(self) -> tuple[PartialDownload, ...]:
        """Blobs that pulls have left unfinished."""
        ...

    async def remove_partial(self, digest: str) -> None:
        """Throw away what has come of a blob.

        Raises: NotFound, StoreError, InvalidRequest for a digest of a wrong form or while it is fetched.
        """
        ...


class UpkeepService(Protocol):
    """Keeping the store clean and whole."""

    async def collect_garbage(self, age_s: float | None = None, *, dry_run: bool = False) -> GarbageReport:
        """Remove what no model needs and tell it; with `dry_run` only tell.

        Args:
            age_s: how old it must be; None: an hour, and for downloads a week.
        Raises: StoreError.
        """
        ...

    def check(self, *, quick: bool = False) -> AsyncGenerator[CheckProgress, None]:
        """Check every manifest and blob; yields progress, and each fault as it is found.

        Args:
            quick: do not read the blobs to compare their bytes with their names.
        """
        ...


class ResponseArchive(Protocol):
    """Responses that are kept for later ones to follow. All methods raise StoreError when that fails."""

    async def keep(self, response: KeptResponse) -> None:
        """Keep a response, in the place of one of the same id. The oldest go when there is too much."""
        ...

    async def get(self, response_id: str) -> KeptResponse:
        """A kept response. Raises: NotFound."""
        ...

    async def delete(self, response_id: str) -> None:
        """Forget a response. Raises: NotFound."""
        ...

    async def conversation(self, response_id: str) -> list[JsonObject]:
        """The items of a response and of all that it follows, in their order. Raises: InvalidRequest."""
        ...


class Services(Protocol):
    """All services of one server."""

    @property
    def inference(self) -> InferenceService: ...

    @property
    def models(self) -> ModelService: ...

    @property
    def status(self) -> StatusService: ...

    @property
    def upkeep(self) -> UpkeepService: ...

    @property
    def transfers(self) -> TransferService: ...

    async def aclose(self) -> None:
        """Release what the implementation holds; open streams end with `ShuttingDown` or `Cancelled`."""
        ...
