"""Requests for generation and embedding, and what comes back."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from server.types.messages import JsonObject, Message, Tool, ToolCall

Think = bool | Literal["low", "medium", "high", "max"] | None
"""None: as the model's default, which is on for a model that can think."""

Format = Literal["json"] | JsonObject | None
"""None: free text. "json": any JSON object. An object: a JSON schema."""

DoneReason = Literal["stop", "length", "load", "unload"]

ToolChoice = Literal["auto", "required"]
"""Whether the model may call tools, or must call at least one."""


class Origin(msgspec.Struct, frozen=True):
    """Where a request came from, for the list of requests.

    Attributes:
        route: HTTP route, or "chat" for the workstation's own.
        client: address and User-Agent product of the caller, "" when not known.
    """

    route: str = ""
    client: str = ""


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is decoded; names are llama.cpp's, defaults are Ollama's.

    Attributes:
        seed: -1 draws one at random.
        n_predict: most tokens to generate; -1: bounded by the engine at 10 x n_ctx.
        n_keep: tokens at the start that a context shift leaves in place.
        context_shift: slide the context when it is full, where the memory allows it; else end with "length".
        mirostat: 0 off, 1, 2.
        logit_bias: (token id, bias) pairs.
        stop: texts that end the answer and are not part of it.
        grammar: GBNF with the root rule "root"; "" for none.
        grammar_triggers: when not empty, the grammar applies only from the first of these texts on.
        logprobs: report the log probability of each token.
        n_top_logprobs: alternatives to report per token, 0 to 20.
        prompt_logprobs: report the prompt's tokens as well, which is decoded anew for that.
        preserved_tokens: names of control tokens that are part of the text, for the parser of the answer.
        ignore_eos: never end with a token that ends an answer; such tokens are not chosen.
        deterministic: the same tokens each time, whatever else is decoded meanwhile; without a seed, 0 is it.
        n_draft: most tokens to guess ahead in a step; -1: as many as pay, 0: none.
        reports_at_once: report each token before the next one is decoded, for who may stop at any of them;
            otherwise tokens that follow within milliseconds are reported together.
    """

    seed: int = -1
    n_predict: int = -1
    n_keep: int = 4
    context_shift: bool = True
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    grammar: str = ""
    grammar_triggers: tuple[str, ...] = ()
    logprobs: bool = False
    n_top_logprobs: int = 0
    prompt_logprobs: bool = False
    preserved_tokens: tuple[str, ...] = ()
    ignore_eos: bool = False
    deterministic: bool = False
    n_draft: int = -1
    reports_at_once: bool = False


class StateCacheParams(msgspec.Struct, frozen=True, kw_only=True):
    """Where a worker keeps the states of conversations beside its slots.

    Attributes:
        host_bytes: most memory for them; 0: none.
        disk_bytes: most space on disk, all models together; 0: nothing is written.
        disk_folder: absolute path; workers of any model share it. "": nothing is written.
        model_key: digests of the model and its adapters, so that no state meets another model.
    """

    host_bytes: int = 0
    disk_bytes: int = 0
    disk_folder: str = ""
    model_key: str = ""


class LoadParams(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is loaded; a request whose parameters differ reloads it.

    Attributes:
        n_ctx: tokens of context per slot.
        n_slots: requests decoded together.
        n_pool_cells: tokens of context that all slots share; 0: each has `n_ctx` of its own.
        n_side_cells: of a pool beside slots with contexts of their own, for requests that share a long
            beginning; made when it is needed first, 0: never.
        n_checkpoints: states of a recurrent model that are kept beside the slots, to go back to.
        swa_full: layers with a sliding window keep everything, so that any beginning can be used again.
        n_batch: most tokens in one llama_decode.
        n_gpu_layers: -1 as many as fit, 0 none.
        use_mmap: None: chosen by the engine.
        n_threads: 0: from the processors that the worker may use.
        kv_cache_type: "f16", "q8_0" or "q4_0", for keys and values.
        flash_attention: None: where supported.
        embedding: make an embedding context (pooling from the model).
        state_cache: what is kept of conversations that have no slot.
    """

    n_ctx: int
    n_slots: int = 1
    n_pool_cells: int = 0
    n_side_cells: int = 0
    n_checkpoints: int = 0
    swa_full: bool = True
    n_batch: int = 512
    n_gpu_layers: int = -1
    main_gpu: int = 0
    use_mmap: bool | None = None
    n_threads: int = 0
    kv_cache_type: str = "f16"
    flash_attention: bool | None = None
    embedding: bool = False
    state_cache: StateCacheParams = StateCacheParams()


class MediaFile(msgspec.Struct, frozen=True):
    """A picture or sound in a prompt: the bytes of its file."""

    data: bytes


class ModelPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Files that make up a loaded model, as absolute paths. `draft`: a model that guesses for it."""

    model: str
    draft: str = ""
    projector: str = ""
    adapters: tuple[str, ...] = ()


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A turn to answer.

    Attributes:
        model: the name as the caller wrote it; replies echo it.
        options: raw options by Ollama's names; None values are ignored (`server.types.options`).
        keep_alive_s: None: as it is, or the server's default; 0 unloads; inf never unloads.
        logit_bias: token id to bias, beyond Ollama's options.
        render_only: answer with the rendered prompt instead of generating.
        tool_choice: "required": the answer is calls of `tools`, whatever `format` says.
        parallel_tool_calls: False: the answer ends with its first call.
        think_budget: most tokens of reasoning; then it is closed and the answer begins. None: no bound.
    """

    model: str
    messages: tuple[Message, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    format: Format = None
    think: Think = None
    think_budget: int | None = None
    options: dict[str, Any] = {}
    keep_alive_s: float | None = None
    truncate: bool = True
    shift: bool = True
    logprobs: bool = False
    n_top_logprobs: int = 0
    logit_bias: dict[int, float] = {}
    render_only: bool = False
    drop_think_when_incapable: bool = False
    origin: Origin = Origin()


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt to complete.

    Attributes:
        context: token ids of an earlier answer, put in front of the prompt.
        prompt_tokens: the prompt as ids, which are decoded as they are; `prompt` is their text, `raw` is set.
        prompt_logprobs: the log probabilities of the prompt's tokens, too, with `raw` and without a cache.
        zero_is_none: `num_predict` 0 means no token, not "without a bound".
        raw: send the prompt as it is, without a template.
        system, template: None: the model's own.
    """

    model: str
    prompt: str = ""
    suffix: str = ""
    system: str | None = None
    template: str | None = None
    context: tuple[int, ...] = ()
    images: tuple[bytes, ...] = ()
    prompt_tokens: tuple[int, ...] = ()
    prompt_logprobs: bool = False
    zero_is_none: bool = False
    raw: bool = False
    format: Format = None
    think: Think = None
    options: dict[str, Any] = {}
    keep_alive_s: float | None = None
    truncate: bool = True
    shift: bool = True
    logprobs: bool = False
    n_top_logprobs: int = 0
    logit_bias: dict[int, float] = {}
    render_only: bool = False
    origin: Origin = Origin()


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Texts to embed.

    Attributes:
        inputs: texts, or lists of token ids.
        n_dimensions: cut vectors to this length and normalise again; 0 keeps them whole.
        truncate: cut an input that is too long instead of refusing it.
    """

    model: str
    inputs: tuple[str | tuple[int, ...], ...] = ()
    truncate: bool = True
    n_dimensions: int = 0
    options: dict[str, Any] = {}
    keep_alive_s: float | None = None
    origin: Origin = Origin()


class EmbedResult(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the inputs.

    Attributes:
        vectors: each a little-endian float32 array, L2-normalised.
        n_prompt_tokens: sum over the inputs, of what was embedded.
        n_dropped_tokens: what was cut off inputs that are too long, all together.
        n_ctx: tokens of one input that fit.
    """

    vectors: tuple[bytes, ...]
    n_prompt_tokens: int = 0
    n_dropped_tokens: int = 0
    n_ctx: int = 0
    total_duration_ns: int = 0
    load_duration_ns: int = 0


class TopLogprob(msgspec.Struct, frozen=True):
    """A token and its log probability; `token` is its UTF-8 text, `token_bytes` its bytes."""

    token: str
    logprob: float
    token_bytes: bytes


class TokenLogprob(msgspec.Struct, frozen=True):
    """A generated token, its log probability and the likeliest alternatives, best first."""

    token: str
    logprob: float
    token_bytes: bytes
    top: tuple[TopLogprob, ...] = ()


class PromptLogprobs(msgspec.Struct, frozen=True):
    """Log probabilities of a prompt's tokens, each from those before it, so the first has none.

    Attributes:
        first: the text of the first token.
        is_first_added: it is not of the prompt; the tokenizer put it in front.
        rest: the others, in order.
    """

    first: str
    is_first_added: bool = False
    rest: tuple[TokenLogprob, ...] = ()


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Counts and durations of one request, in tokens and nanoseconds.

    Attributes:
        n_cached_tokens: prompt tokens that were not decoded again; part of n_prompt_tokens.
        n_drafted_tokens, n_accepted_tokens: tokens that were guessed, and those of them that came true.
        queue_duration_ns: waiting for a slot.
    """

    total_duration_ns: int = 0
    load_duration_ns: int = 0
    queue_duration_ns: int = 0
    n_prompt_tokens: int = 0
    n_cached_tokens: int = 0
    prompt_duration_ns: int = 0
    n_output_tokens: int = 0
    output_duration_ns: int = 0
    n_drafted_tokens: int = 0
    n_accepted_tokens: int = 0


class PromptUse(msgspec.Struct, frozen=True):
    """Tokens of a prompt, and those of them that were not decoded again."""

    n_tokens: int = 0
    n_cached_tokens: int = 0


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an answer, in the order it is generated.

    `prompt` comes with the first piece, where the backend tells it before the end, and so does
    `prompt_logprobs`, where it was asked for.
    """

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt: PromptUse | None = None
    prompt_logprobs: PromptLogprobs | None = None


class Completed(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an answer; always the last event of a stream that did not raise.

    Attributes:
        context: token ids of prompt and answer, for `GenerateRequest.context`; empty unless asked for.
        tool_calls: calls that are reported with the end (models rendered by their own Jinja template).
        stop_text: the stop text that ended the answer, "" otherwise.
        n_dropped_messages, n_dropped_tokens: what truncation left out of the prompt; the tokens include those
            of the messages.
        n_ctx: tokens that the context holds, 0 when nothing was generated.
        n_thinking_tokens: output tokens that were reasoning.
    """

    reason: DoneReason
    timings: Timings = Timings()
    tool_calls: tuple[ToolCall, ...] = ()
    context: tuple[int, ...] = ()
    stop_text: str = ""
    n_dropped_messages: int = 0
    n_dropped_tokens: int = 0
    n_ctx: int = 0
    n_thinking_tokens: int = 0


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt of a `render_only` request; the only event of its stream."""

    prompt: str
    n_images: int = 0


GenerationEvent = Chunk | Completed | Rendered
