"""Messages between the server and an engine worker.

One frame is one message. Every `Submit`, `Embed`, `Rerank`, `Tokenize` and `Detokenize` gets exactly one
ending: `Finished`, `Embeddings`, `Scores`, `Tokens`, `Text` or `Failed`. `VERSION` changes with any change of
shape.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from server.types.generation import (
    LoadParams,
    MediaFile,
    ModelPaths,
    PromptLogprobs,
    SamplingParams,
    TokenLogprob,
)
from server.types.models import DevicePart

VERSION = 5

FailureKind = Literal[
    "invalid_request",
    "invalid_grammar",
    "context_exceeded",
    "bad_model_file",
    "out_of_memory",
    "load_failed",
    "busy",
    "engine",
]
FinishReason = Literal["stop", "length", "cancelled"]


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load the model. The first message to a worker, sent once."""

    paths: ModelPaths
    params: LoadParams


class Submit(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Generate from a prompt.

    Attributes:
        prompt: text pieces, token runs and picture or sound files in order; text is tokenised with special
            tokens recognised.
        emitted: tokens that earlier workers already sent for this request; decoded, not sent again.
        n_emitted_characters: length of the text that they sent with these; -1: all that the tokens stand for.
        n_refused: how many of these were drawn twice, because a grammar refused what was drawn first.
    """

    request_id: int
    prompt: tuple[str | tuple[int, ...] | MediaFile, ...]
    sampling: SamplingParams
    emitted: tuple[int, ...] = ()
    n_emitted_characters: int = -1
    n_refused: int = 0


class Embed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Embed inputs; answered by `Embeddings`."""

    request_id: int
    inputs: tuple[str | tuple[int, ...], ...]
    truncate: bool = True


class Rerank(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Score documents by how well they answer a query; answered by `Scores`."""

    request_id: int
    query: str
    documents: tuple[str, ...]
    truncate: bool = True


class Tokenize(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Tokenise texts; answered by `Tokens`. `add_special` adds BOS and EOS where the model wants them."""

    request_id: int
    texts: tuple[str, ...]
    add_special: bool = True


class Detokenize(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Token ids to text with special tokens rendered; answered by `Text`."""

    request_id: int
    tokens: tuple[int, ...]


class Abort(msgspec.Struct, frozen=True, tag=True):
    """End a request within one step; it ends with `Finished(reason="cancelled")`."""

    request_id: int


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Leave once idle, or after `grace_s` seconds."""

    grace_s: float = 0.0


ToEngine = Load | Submit | Embed | Rerank | Tokenize | Detokenize | Abort | Shutdown


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A ggml device. `kind`: cpu, gpu, igpu, accel."""

    name: str
    description: str
    kind: str
    memory_free_bytes: int
    memory_total_bytes: int


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """First message of a worker, before any load."""

    version: int
    pid: int
    llama_build: str
    devices: tuple[DeviceInfo, ...] = ()


class LoadProgress(msgspec.Struct, frozen=True, tag=True):
    """Share of the weights that is read, 0 to 1."""

    fraction: float


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The model answers requests from now on. All sizes are as read back from llama.cpp.

    Sent again when any of it changes: a draft model that fails is given up.

    Attributes:
        n_ctx: tokens of context per slot.
        n_ctx_train: tokens that the model was trained on.
        n_embd: length of an embedding vector.
        can_shift: a full context can slide.
        has_draft_model: a draft model guesses tokens.
        draft_refusal: why the draft model that was asked for does not, as a sentence; "" otherwise.
        device_parts: what each device holds and computes, as far as it does.
    """

    n_ctx: int
    n_ctx_train: int
    n_slots: int
    n_vocab: int
    n_embd: int
    n_threads: int
    can_shift: bool
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    vram_bytes: int
    bos_text: str = ""
    eos_text: str = ""
    has_draft_model: bool = False
    draft_refusal: str = ""
    device_parts: tuple[DevicePart, ...] = ()


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be loaded; the worker leaves after this."""

    kind: FailureKind
    message: str


class TokenDelta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """New tokens of one request and the text they complete, cut at stop texts and at whole characters.

    Attributes:
        begun: with the first delta of a request: what a `Finished` at that moment would tell.
        prompt_logprobs: with the first delta, where it was asked for.
        n_refused: how many of these were drawn twice, because a grammar refused what was drawn first.
    """

    request_id: int
    tokens: tuple[int, ...]
    text: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    begun: EngineTimings | None = None
    prompt_logprobs: PromptLogprobs | None = None
    n_refused: int = 0


class StepStats(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The worker after a step.

    Attributes:
        host_cache_bytes: states of conversations that are kept in memory beside the slots.
    """

    n_busy_slots: int = 0
    n_queued: int = 0
    n_kv_tokens: int = 0
    step_ms: float = 0.0
    host_cache_bytes: int = 0


class Step(msgspec.Struct, frozen=True, tag=True):
    """All that one engine step produced; also sent each 2 s while busy, as a heartbeat."""

    deltas: tuple[TokenDelta, ...]
    stats: StepStats


class EngineTimings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts and durations of one request inside the worker, in tokens and nanoseconds.

    Attributes:
        n_drafted_tokens, n_accepted_tokens: tokens that were guessed, and those of them that came true.
    """

    n_prompt_tokens: int = 0
    n_cached_tokens: int = 0
    n_output_tokens: int = 0
    queue_duration_ns: int = 0
    prompt_duration_ns: int = 0
    output_duration_ns: int = 0
    n_drafted_tokens: int = 0
    n_accepted_tokens: int = 0


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The one good end of a `Submit`. `stop_text` is the stop text that matched, "" otherwise."""

    request_id: int
    reason: FinishReason
    timings: EngineTimings
    stop_text: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The one bad end of any request."""

    request_id: int
    kind: FailureKind
    message: str
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class Tokens(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Token ids for each text of a `Tokenize`."""

    request_id: int
    tokens: tuple[tuple[int, ...], ...]


class Text(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The text of a `Detokenize`."""

    request_id: int
    text: str


class Embeddings(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Vectors of an `Embed`: each a little-endian float32 array, L2-normalised, with its token count."""

    request_id: int
    vectors: tuple[bytes, ...]
    n_tokens: tuple[int, ...]


class Scores(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Scores of a `Rerank` in the order of its documents, with the token counts of the pairs.

    `n_dropped`: tokens that were cut off each document.
    """

    request_id: int
    scores: tuple[float, ...]
    n_tokens: tuple[int, ...]
    n_dropped: tuple[int, ...]


class Bye(msgspec.Struct, frozen=True, tag=True):
    """Last message of a worker that leaves in order."""


FromEngine = (
    Hello
    | LoadProgress
    | Loaded
    | LoadFailed
    | Step
    | Finished
    | Failed
    | Tokens
    | Text
    | Embeddings
    | Scores
    | Bye
)
