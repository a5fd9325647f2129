"""One request in the worker: its state, how it begins, and how it takes its next token."""

from __future__ import annotations

import collections
import time
from typing import Final

import msgspec
import numpy as np

from server.engine.batch import TokenArray
from server.engine.candidates import Candidates, Row, best_id
from server.engine.context_shift import fitted
from server.engine.detokenizer import Detokenizer, Released
from server.engine.draft import Acceptance
from server.engine.draft_choice import Trust
from server.engine.failures import ContextFull, EngineFailure, unexpected
from server.engine.logprobs import token_logprob
from server.engine.media import Media, text_only
from server.engine.model import Model
from server.engine.prompt import control_tokens, prompt_tokens, token_array
from server.engine.sampler import Known, Sampler
from server.engine.sequence import Sequence
from server.ipc.messages import EngineTimings, FinishReason, Submit, TokenDelta
from server.types.generation import PromptLogprobs, SamplingParams, TokenLogprob

MAX_CONTEXTS_OF_OUTPUT: Final = 10
"""A generation without a bound of its own ends after this many contexts of tokens."""


class Generation(msgspec.Struct, eq=False):
    """One request in the worker. Times are monotonic nanoseconds.

    Attributes:
        n_prompt: tokens of the prompt, without those an earlier worker generated.
        last_token: chosen but not yet decoded.
        stop_tokens: control tokens whose name is one of the stop texts.
        shown: control tokens that are part of the text.
        never: ids that are not chosen, whatever the model thinks of them; `never_set`: the same.
        n_drafted, n_accepted: tokens that were guessed, and those of them that came true.
        has_begun: the server has been told of its first token.
        scores: of the prompt's tokens behind the first, as far as they were decoded; `scored`: of all, until
            the server is told.
        is_first_added: the tokenizer put a token in front of the prompt.
        n_plain: tokens that may follow without a look at what they end or make room for, see `look_ahead`.
        refused: for each token that the server has not been told of, whether it was drawn twice.
    """

    sequence: Sequence
    params: SamplingParams
    sampler: Sampler
    text: Detokenizer
    n_prompt: int
    n_output: int
    n_output_max: int
    submitted_ns: int
    stop_tokens: dict[int, str]
    shown: frozenset[int]
    never: TokenArray
    never_set: frozenset[int]
    admitted_ns: int = 0
    first_token_ns: int = 0
    last_token: int = -1
    end: FinishReason | None = None
    acceptance: Acceptance = msgspec.field(default_factory=Acceptance)
    trust: Trust | None = None
    n_drafted: int = 0
    n_accepted: int = 0
    has_begun: bool = False
    scores: list[TokenLogprob] = msgspec.field(default_factory=list)
    scored: PromptLogprobs | None = None
    is_first_added: bool = False
    n_plain: int = 0
    refused: collections.deque[bool] = msgspec.field(default_factory=collections.deque)

    def timings(self) -> EngineTimings:
        """Counts and durations up to now."""
        now = time.monotonic_ns()
        admitted = self.admitted_ns or now
        first = self.first_token_ns or now
        return EngineTimings(
            n_prompt_tokens=self.n_prompt,
            n_cached_tokens=min(self.sequence.n_cached, self.n_prompt),
            n_output_tokens=self.n_output,
            queue_duration_ns=admitted - self.submitted_ns,
            prompt_duration_ns=first - admitted,
            output_duration_ns=now - first,
            n_drafted_tokens=self.n_drafted,
            n_accepted_tokens=self.n_accepted,
        )

    def delta(self, released: Released) -> TokenDelta:
        """What the server is told of released tokens."""
        begun = None if self.has_begun else self.timings()
        self.has_begun = True
        scored, self.scored = self.scored, None
        return TokenDelta(
            request_id=self.sequence.request_id,
            tokens=released.tokens,
            text=released.text,
            logprobs=released.logprobs,
            begun=begun,
            prompt_logprobs=scored,
            n_refused=sum(self.refused.popleft() for _ in released.tokens),
        )


def begin_generation(
    message: Submit,
    model: Model,
    candidates: Candidates,
    media: tuple[Media, ...] = (),
    *,
    n_ctx: int,
    can_shift: bool,
) -> Generation:
    """A request as it is queued. `n_ctx`: tokens of context that it has; `media`: made of its files.

    Raises: ContextFull, BadRequest, BadGrammar, NoMemory.
    """
    prompt, spans = msgspec.structs.astuple(prompt_tokens(model, message.prompt, media))
    params = _settled(message.sampling, has_media=bool(spans))
    emitted = token_array(model, message.emitted)
    if len(prompt) >= n_ctx:
        raise ContextFull(
            f"the prompt has {len(prompt)} tokens and the context holds {n_ctx}",
            n_prompt_tokens=len(prompt),
            n_ctx=n_ctx,
        )
    tokens = fitted(
        np.concatenate([prompt, emitted]),
        n_ctx=n_ctx,
        n_keep=n_shift_keep(params, model, len(prompt)),
        can_shift=params.context_shift and can_shift,
    )
    sampler = Sampler(model, _continued(params, len(emitted)), n_ctx, candidates)
    _catch_up(sampler, message, prompt)
    n_output_max = MAX_CONTEXTS_OF_OUTPUT * n_ctx
    if params.n_predict >= 0:
        n_output_max = min(params.n_predict, n_output_max)
    if len(tokens) > n_ctx:
        tokens, n_output_max = tokens[:n_ctx], len(emitted)
    shown = frozenset(control_tokens(model, params.preserved_tokens))
    never = np.union1d(model.suppressed, model.ends()) if params.ignore_eos else model.suppressed
    return Generation(
        sequence=Sequence(
            message.request_id,
            tokens,
            is_alone=params.deterministic,
            is_scored=params.prompt_logprobs and not (spans or len(emitted)),
            n_output_max=max(0, n_output_max - len(emitted)),
            spans=spans,
        ),
        params=params,
        sampler=sampler,
        text=_text_so_far(message, model, shown),
        n_prompt=len(prompt),
        n_output=len(emitted),
        n_output_max=n_output_max,
        submitted_ns=time.monotonic_ns(),
        stop_tokens=control_tokens(model, params.stop),
        shown=shown,
        never=never,
        never_set=frozenset(never.tolist()),
        is_first_added=model.adds_bos and isinstance(message.prompt[0], str),
    )


def _settled(params: SamplingParams, *, has_media: bool) -> SamplingParams:
    """The parameters with what follows from others."""
    if params.deterministic and params.seed == -1:
        params = msgspec.structs.replace(params, seed=0)
    if has_media and params.context_shift:
        params = msgspec.structs.replace(params, context_shift=False)  # half a picture is of no use
    return params


def _catch_up(sampler: Sampler, message: Submit, prompt: TokenArray) -> None:
    """Bring a sampler to where an earlier worker may have left it; it is closed when that fails."""
    try:
        sampler.accept_prompt(text_only(prompt))
        for token in message.emitted:
            sampler.accept(token)
    except EngineFailure:
        sampler.close()
        raise
    sampler.skip_draws(len(message.emitted) + message.n_refused)


def _continued(params: SamplingParams, n_emitted: int) -> SamplingParams:
    """With another seed for mirostat, whose state cannot be brought to where it was: it starts over."""
    if n_emitted == 0 or params.mirostat == 0 or params.seed == -1:
        return params
    return msgspec.structs.replace(params, seed=(params.seed + n_emitted) & 0xFFFFFFFF)


def _text_so_far(message: Submit, model: Model, shown: frozenset[int]) -> Detokenizer:
    """The text of a generation that an earlier worker may have begun."""
    text = Detokenizer(message.sampling.stop)
    if message.emitted:
        pieces = (model.piece(token, special=token in shown) for token in message.emitted)
        text.resume(pieces, message.n_emitted_characters)
    return text


def n_shift_keep(params: SamplingParams, model: Model, n_prompt: int) -> int:
    """Tokens at the start that a context shift keeps: the whole prompt when `n_keep` is negative."""
    return (params.n_keep if params.n_keep >= 0 else n_prompt) + model.adds_bos


def choose_next(generation: Generation, model: Model, row: Row, known: Known) -> Released:
    """Choose a token from a row of logits; returns what may be shown.

    Sets `generation.end` when the token, a stop text or the bound on the output ends the request.

    Raises: BadGrammar, DecodeFailed, EngineFailure for a fault that nobody foresaw: it costs this request.
    """
    try:
        return _choose_next(generation, model, row, known)
    except (EngineFailure, MemoryError):
        raise
    except Exception as error:
        raise unexpected("the next token could not be shown", error) from error


def _choose_next(generation: Generation, model: Model, row: Row, known: Known) -> Released:
    if generation.first_token_ns == 0:
        generation.first_token_ns = time.monotonic_ns()
    if generation.text.stop_text or generation.n_output >= generation.n_output_max:
        # Nothing was asked for beyond the prompt, or an earlier worker had come to the end.
        generation.end = "stop" if generation.text.stop_text else "length"
        return generation.text.finish()
    token = chosen(generation, row, known)
    generation.refused.append(generation.sampler.was_refused)
    generation.last_token = token
    generation.sampler.accept(token)
    generation.n_output += 1
    return _show(generation, model, token, row)


def look_ahead(generation: Generation, n_free: int) -> None:
    """Count the tokens that may follow as long as each is nothing but a text of its own.

    That is so while nothing waits to be shown, and where only the number of tokens can end the request.
    `n_free`: tokens that can still be decoded without a thought of the context's end.
    """
    text = generation.text
    if generation.end is not None or text.holds_back or not generation.has_begun:
        generation.n_plain = 0
        return
    remembers = generation.stop_tokens or generation.params.logprobs or generation.sampler.remembers
    n_left = generation.n_output_max - generation.n_output - 1
    generation.n_plain = 0 if remembers else min(n_left, n_free)


def plain_delta(generation: Generation, model: Model, token: int) -> TokenDelta | None:
    """Take a token while `n_plain` is positive: what the server is told of it.

    None, and nothing has changed, for one that `choose_next` has to look at.
    """
    text = model.plain_text(token)
    if text is None:
        return None
    generation.n_plain -= 1
    generation.n_output += 1
    generation.last_token = token
    return TokenDelta(request_id=generation.sequence.request_id, tokens=(token,), text=text)


def chosen(generation: Generation, row: Row, known: Known) -> int:
    """The token that a row of logits leads to. The row is as before. Raises: as `choose_next`."""
    try:
        return _chosen(generation, row, known)
    except (EngineFailure, MemoryError):
        raise
    except Exception as error:
        raise unexpected("no next token could be chosen", error) from error


def _chosen(generation: Generation, row: Row, known: Known) -> int:
    token = _known_token(generation, row, known)
    if token is not None:
        return token
    sampler = generation.sampler
    if not generation.never_set:
        return best_id(row) if sampler.is_greedy else sampler.sample(row)
    before = row[generation.never]
    row[generation.never] = -np.inf
    try:
        return best_id(row) if sampler.is_greedy else sampler.sample(row)
    finally:
        row[generation.never] = before


def _known_token(generation: Generation, row: Row, known: Known) -> int | None:
    """The token that what is known of a row leads to; None where one that may not be chosen is in the way."""
    if known is None:
        return None
    if isinstance(known, int):
        return None if known in generation.never_set else known
    if generation.never_set and not generation.never_set.isdisjoint(known[0].tolist()):
        return None
    return generation.sampler.sample_of(known)


def _show(generation: Generation, model: Model, token: int, row: Row) -> Released:
    """The text that a chosen token completes, and whether it ends the request."""
    logprob = None
    is_end = token in generation.stop_tokens or model.is_eog(token)
    # Who scores a prompt takes the last of the log probabilities for the answer's, so there must be one.
    if generation.params.logprobs and (not is_end or generation.params.prompt_logprobs):
        logprob = token_logprob(model, row, token, generation.params.n_top_logprobs)
    if is_end:
        generation.end = "stop"
        released = generation.text.finish()
        if not model.is_eog(token):
            generation.text.stop_text = generation.stop_tokens[token]
        if logprob is not None:
            released = msgspec.structs.replace(released, logprobs=(*released.logprobs, logprob))
        return released
    piece = model.piece(token, special=token in generation.shown)
    released = generation.text.feed(token, piece, logprob)
    if generation.text.stop_text:
        generation.end = "stop"
    elif generation.n_output >= generation.n_output_max:
        generation.end = "length"
    return released
