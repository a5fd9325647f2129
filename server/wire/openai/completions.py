"""Bodies of `/v1/completions`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from server.errors import InvalidRequest
from server.types.generation import Chunk, Completed, GenerateRequest, Origin, PromptLogprobs, TokenLogprob
from server.wire.codec import EOF, GoObject, decode, encode
from server.wire.folding import Answer
from server.wire.olla import Told, told
from server.wire.ollama.inference import MAX_TOP_LOGPROBS, logit_bias_from_body
from server.wire.openai.embeddings import is_tokens
from server.wire.openai.options import (
    FINGERPRINT,
    MAX_CHOICES,
    Usage,
    ignored_fields,
    n_choices,
    sampling_options,
    stop_texts,
    wants_usage,
)

_IGNORED = ("best_of",)


class CompletionCall(NamedTuple):
    """A completion request with what concerns only its transport.

    Attributes:
        requests: one for each prompt; a prompt of token ids is in `tokens`, by the place of its request.
        n: answers wanted to each.
        echo: the prompt is part of the text.
        ignored: names of fields that have no effect here.
    """

    requests: tuple[GenerateRequest, ...]
    tokens: dict[int, tuple[int, ...]]
    stream: bool = False
    include_usage: bool = False
    n: int = 1
    echo: bool = False
    ignored: tuple[str, ...] = ()


class LogprobsBody(msgspec.Struct, frozen=True):
    """Log probabilities in the older form: lists of equal length, one entry for each token.

    Attributes:
        text_offset: place of each token in the text, in characters.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None] | None
    text_offset: list[int]


class TextChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A completion, or a piece of one."""

    text: str
    index: int
    finish_reason: str | None
    logprobs: LogprobsBody | msgspec.UnsetType = msgspec.UNSET


class CompletionBody(msgspec.Struct, frozen=True, kw_only=True):
    """A whole reply."""

    id: str
    object: str = "text_completion"
    created: int
    model: str
    system_fingerprint: str = FINGERPRINT
    choices: list[TextChoice]
    usage: Usage
    olla: Told | msgspec.UnsetType = msgspec.UNSET


class CompletionChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a streamed reply."""

    id: str
    object: str = "text_completion"
    created: int
    choices: list[TextChoice]
    model: str
    system_fingerprint: str = FINGERPRINT
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    olla: Told | msgspec.UnsetType = msgspec.UNSET


def completion_from_body(body: bytes, origin: Origin) -> CompletionCall:
    """Raises: InvalidRequest."""
    fields = GoObject(decode(body, when_empty=EOF), "CompletionRequest")
    options = sampling_options(fields)
    options["top_p"] = options["top_p"] or 1.0
    for name in ("frequency_penalty", "presence_penalty"):
        options.setdefault(name, 0.0)
    if (stop := stop_texts(fields.raw("stop"), strict=True)) is not None:
        options["stop"] = stop
    n_logprobs = fields.integer("logprobs")
    if n_logprobs is not None and not 0 <= n_logprobs <= MAX_TOP_LOGPROBS:
        raise InvalidRequest(f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
    echo = fields.flag("echo")
    is_scored = echo and n_logprobs is not None
    if is_scored and fields.text("suffix"):
        raise InvalidRequest("echo with logprobs takes no suffix; leave one of them out")
    texts, tokens = _prompts(fields.raw("prompt"))
    n = n_choices(fields)
    if len(texts) * n > MAX_CHOICES:
        raise InvalidRequest(f"prompts times n must be at most {MAX_CHOICES}")
    requests = tuple(
        GenerateRequest(
            model=fields.text("model"),
            prompt=text,
            suffix=fields.text("suffix"),
            options=options,
            logprobs=n_logprobs is not None,
            n_top_logprobs=n_logprobs or 0,
            prompt_logprobs=is_scored,
            zero_is_none=echo,
            raw=is_scored,
            truncate=not is_scored,
            logit_bias=logit_bias_from_body(fields),
            render_only=fields.flag("_debug_render_only"),
            origin=origin,
        )
        for text in texts
    )
    return CompletionCall(
        requests,
        tokens,
        fields.flag("stream"),
        wants_usage(fields),
        n,
        echo,
        ignored_fields(fields, _IGNORED),
    )


def _prompts(value: object) -> tuple[list[str], dict[int, tuple[int, ...]]]:
    """Prompts as texts, and those that are token ids, by their place. Raises: InvalidRequest."""
    if value is None or isinstance(value, str):
        return [value or ""], {}
    if isinstance(value, list) and value:
        if is_tokens(value):
            return [""], {0: tuple(value)}
        if all(isinstance(item, str) for item in value):
            return list(value), {}
        if all(isinstance(item, list) and item and is_tokens(item) for item in value):
            return [""] * len(value), {index: tuple(item) for index, item in enumerate(value)}
    raise InvalidRequest("prompt must be a string, an array of strings, or token ids")


def completion(
    id: str, model: str, answers: list[Answer], prompts: list[str], created_s: int
) -> CompletionBody:
    """A whole reply. Thoughts are left out: the route has no place for them.

    `prompts`: what stands in front of each text.
    """
    n_prompt = sum(answer.completed.timings.n_prompt_tokens for answer in answers)
    n_output = sum(answer.completed.timings.n_output_tokens for answer in answers)
    return CompletionBody(
        id=id,
        created=created_s,
        model=model,
        choices=[
            TextChoice(
                text=prompt + answer.content,
                index=index,
                finish_reason=answer.completed.reason,
                logprobs=logprobs_body(answer.logprobs, answer.prompt_logprobs)[0],
            )
            for index, (answer, prompt) in enumerate(zip(answers, prompts, strict=True))
        ],
        usage=Usage(n_prompt, n_output, n_prompt + n_output),
        olla=next((said for answer in answers if (said := told(answer.completed))), msgspec.UNSET),
    )


def logprobs_body(
    logprobs: Iterable[TokenLogprob], prompt: PromptLogprobs | None = None, offset: int = 0
) -> tuple[LogprobsBody | msgspec.UnsetType, int]:
    """Log probabilities, none for none, and where the next token begins.

    `prompt`: those in front. Its first token has none, and no length where it is not of the text.
    """
    items = [*(prompt.rest if prompt else ()), *logprobs]
    body = LogprobsBody([], [], None, [])
    top: list[dict[str, float] | None] = []
    if prompt is not None:
        body.tokens.append(prompt.first)
        body.token_logprobs.append(None)
        body.text_offset.append(offset)
        top.append(None)
        offset += 0 if prompt.is_first_added else len(prompt.first)
    for item in items:
        body.tokens.append(item.token)
        body.token_logprobs.append(item.logprob)
        body.text_offset.append(offset)
        top.append({one.token: one.logprob for one in item.top})
        offset += len(item.token)
    if not body.tokens:
        return msgspec.UNSET, offset
    return (msgspec.structs.replace(body, top_logprobs=top) if any(top) else body), offset


class TextWriter:
    """Turns the events of one answer into the events of a stream.

    Args:
        prompt: what stands in front of the text.
        with_usage: each event has a usage of zeros, as in Ollama, for the usage comes last.
    """

    def __init__(
        self, id: str, model: str, created_s: int, *, index: int, prompt: str, with_usage: bool
    ) -> None:
        self._id = id
        self._model = model
        self._created_s = created_s
        self._index = index
        self._prompt = prompt
        self._offset = len(prompt)
        self._with_usage = with_usage

    def pieces(self, event: Chunk | Completed) -> list[bytes]:
        """Events for a piece of the text, or for its end."""
        if isinstance(event, Completed):
            return [*self._echo(None), self._frame("", reason=event.reason, olla=told(event))]
        echoed = self._echo(event.prompt_logprobs)
        if not (event.content or event.logprobs):
            return echoed
        logprobs, self._offset = logprobs_body(event.logprobs, offset=self._offset)
        return [*echoed, self._frame(event.content, logprobs=logprobs)]

    def _echo(self, scores: PromptLogprobs | None) -> list[bytes]:
        prompt, self._prompt = self._prompt, ""
        logprobs, n_characters = logprobs_body((), scores)
        self._offset = n_characters if scores else self._offset
        return [self._frame(prompt, logprobs=logprobs)] if prompt or scores else []

    def _frame(
        self,
        text: str,
        *,
        reason: str | None = None,
        logprobs: LogprobsBody | msgspec.UnsetType = msgspec.UNSET,
        olla: Told | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        choice = TextChoice(text=text, index=self._index, finish_reason=reason, logprobs=logprobs)
        return _sse(
            CompletionChunk(
                id=self._id,
                created=self._created_s,
                choices=[choice],
                model=self._model,
                usage=Usage() if self._with_usage else msgspec.UNSET,
                olla=olla,
            )
        )


def usage_piece(id: str, model: str, created_s: int, ends: Iterable[Completed]) -> bytes:
    """Event with the usage of all answers."""
    timings = [end.timings for end in ends]
    n_prompt = sum(one.n_prompt_tokens for one in timings)
    n_output = sum(one.n_output_tokens for one in timings)
    total = Usage(n_prompt, n_output, n_prompt + n_output)
    return _sse(CompletionChunk(id=id, created=created_s, choices=[], model=model, usage=total))


def _sse(body: CompletionChunk) -> bytes:
    return b"data: " + encode(body) + b"\n\n"
