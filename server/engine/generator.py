"""Generation for all slots of one context: from `Submit` to `Finished`, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from server.engine.batch import TokenArray
from server.engine.candidates import Candidates, Row
from server.engine.cells import CellPool
from server.engine.checkpoints import checkpoint_lengths
from server.engine.context import Context, Decoded, Rows
from server.engine.context_shift import shift_sizes
from server.engine.detokenizer import Released, joined
from server.engine.draft import Match
from server.engine.draft_model import DraftModel
from server.engine.drafter import Drafter
from server.engine.failures import BadRequest, DecodeFailed, EngineFailure, NoMemory
from server.engine.generation import Generation, begin_generation, choose_next, n_shift_keep
from server.engine.idle_saving import IdleSaver
from server.engine.inbox import Inbox
from server.engine.kv_cache import SlotCache
from server.engine.media import Media
from server.engine.memory_policy import PoolPolicy
from server.engine.model import Model
from server.engine.pace import MIN_CHUNK_TOKENS, Pace
from server.engine.prompt_scores import score
from server.engine.sampler import Known, known_of_rows
from server.engine.scheduler import Scheduler
from server.engine.sequence import Phase, Plan, Sequence
from server.engine.slot_memory import SlotMemory
from server.engine.state_store import open_store
from server.engine.step_rows import fill, media_batch, record_chunk
from server.engine.threads import Threads
from server.ipc.messages import Failed, Finished, FromEngine, Step, StepStats, Submit, TokenDelta
from server.types.generation import StateCacheParams


class Generator:
    """Decodes, samples and reports for every request of one context.

    Attributes:
        saver: writes conversations to disk when its `work` is called while the generator is idle.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        *,
        n_slots: int,
        n_ctx: int,
        pace: Pace,
        inbox: Inbox,
        threads: Threads,
        state_cache: StateCacheParams,
        in_tiles: bool = False,
        draft_model: DraftModel | None = None,
    ) -> None:
        self._model = model
        self._context = context
        self._n_ctx = n_ctx
        self._pace = pace
        self._inbox = inbox
        self._threads = threads
        cells = CellPool(context.n_ctx, context.n_seq_max, n_ctx) if context.params.unified else None
        self._pool = PoolPolicy(cells, n_ctx) if cells is not None else None
        self._cache = SlotCache(
            n_slots,
            n_ctx,
            can_trim=not model.is_recurrent,
            can_copy=context.can_copy,
            restores_whole=context.restores_whole,
            cells=cells,
            on_plane=model.on_plane,
            n_checkpoints=context.n_seq_max - n_slots,
        )
        self._states = open_store(context, self._cache, pace, state_cache)
        self.saver = IdleSaver(self._states, self._cache)
        self._scheduler = Scheduler(
            n_slots,
            context.n_batch,
            self._cache,
            self._states.improve,
            self._pool,
            in_tiles=in_tiles,
            shares_beginnings=context.shares_beginnings,
            n_outputs_max=context.n_outputs_max,
        )
        self._memory = SlotMemory(
            context, self._cache, self._states, self._pool, lambda: self._scheduler.free_slots
        )
        self._drafter = Drafter(
            self._cache, n_ctx=n_ctx, n_rows_max=context.n_outputs_max, pool=self._pool, model=draft_model
        )
        self._candidates = Candidates(model.n_vocab)
        self._generations: dict[int, Generation] = {}
        self._to_shift: dict[int, tuple[int, int]] = {}  # request -> (kept, discarded) when it begins anew
        self._n_prompt_tokens_max = context.n_batch

    @property
    def is_idle(self) -> bool:
        """Whether no request is open."""
        return self._scheduler.is_idle

    def submit(self, message: Submit, media: tuple[Media, ...] = ()) -> None:
        """Begin a request. `media`: what was made of its files. Raises: EngineFailure, and it has ended."""
        if message.request_id in self._generations:
            raise BadRequest(f"request {message.request_id} is open already")
        generation = begin_generation(
            message,
            self._model,
            self._candidates,
            media,
            n_ctx=self._n_ctx,
            can_shift=self._context.can_shift,
        )
        if self._cache.copies_whole:
            generation.sequence.stops = checkpoint_lengths(generation.sequence.tokens, self._model.ends())
        self._generations[message.request_id] = generation
        self._scheduler.add(generation.sequence)

    def abort(self, request_id: int) -> list[FromEngine]:
        """End a request now. Nothing happens when it has ended already."""
        generation = self._generations.get(request_id)
        if generation is None:
            self._inbox.forget(request_id)
            return []
        generation.end = "cancelled"
        return [self._finish(generation)]

    def abort_all(self) -> list[FromEngine]:
        """End all requests now."""
        return [message for request_id in list(self._generations) for message in self.abort(request_id)]

    def step(self) -> list[FromEngine]:
        """Decode once for everybody. Returns a `Step`, then the ends of the requests that ended with it."""
        begin = time.perf_counter()
        self._admit()
        self._scheduler.make_room(self._reached)
        n_prompt_tokens = self._pace.n_prompt_tokens(
            someone_decodes=self._scheduler.someone_decodes,
            n_batch=self._context.n_batch,
            n_longest=self._scheduler.n_longest_prompt,
        )
        plan = self._scheduler.plan(min(n_prompt_tokens, self._n_prompt_tokens_max))
        drafts = self._drafts(plan)
        deltas: list[TokenDelta] = []
        ended: list[FromEngine] = []
        try:
            fill(self._context.batch, self._cache, plan, self._generations, drafts)
            self._memory.free_cells(max(self._context.batch.n_tokens, plan.n_prompt_tokens))
            outcome = self._decode(plan)
            if outcome is not Decoded.DONE:
                return self._not_done(plan, outcome, has_drafts=bool(drafts))
            self._n_prompt_tokens_max = self._context.n_batch
            self._after_decode(plan, drafts, deltas, ended)
            self._shift_by_requeueing()
        except (EngineFailure, MemoryError) as error:
            ended += self._all_failed(error)
            return [Step(tuple(deltas), self._step_stats(0.0)), *ended]
        seconds = time.perf_counter() - begin
        self._measured(plan, seconds - self._drafter.take_spent_s())
        return [Step(tuple(deltas), self._step_stats(seconds)), *ended]

    # The parts of a step.

    def _measured(self, plan: Plan, seconds: float) -> None:
        """A step took so long: for the size of prompt chunks, the length of drafts, and the threads."""
        if plan.scored is not None:
            return  # it has more to compute than other prompts
        self._pace.measured(plan.n_prompt_tokens, seconds, someone_decodes=bool(plan.decoding))
        n_rows = self._context.batch.n_tokens
        if plan.is_alone:
            return
        if not plan.chunks:
            self._drafter.measured(n_rows, seconds)
            self._threads.measured(n_rows, seconds)
        elif plan.n_prompt_tokens >= MIN_CHUNK_TOKENS:
            cost_s = seconds / plan.n_prompt_tokens
            self._threads.measured("prompt", cost_s, is_steady=False)

    def _admit(self) -> None:
        if self._context.keeps_windows and self._scheduler.n_queued:
            for slot in range(self._cache.n_slots):
                self._cache.set_fixed(slot, self._context.n_fixed(slot))
        for sequence in self._scheduler.admit(self._memory.carry_out):
            generation = self._generations[sequence.request_id]
            generation.admitted_ns = generation.admitted_ns or time.monotonic_ns()
            if sequence.is_alone and self._pool is not None:
                self._memory.clear()  # its cells are the same ones each time

    def _reached(self, sequence: Sequence) -> TokenArray:
        """The tokens that a request begins with when it goes on after making way: all but its next one."""
        generation = self._generations[sequence.request_id]
        sequence.n_output_max = generation.n_output_max - generation.n_output
        if sequence.phase is Phase.PREFILL:
            return sequence.tokens
        tokens = self._cache.tokens(sequence.slot)
        if sequence.request_id in self._to_shift:
            n_keep, n_discard = self._to_shift.pop(sequence.request_id)
            tokens = np.concatenate([tokens[:n_keep], tokens[n_keep + n_discard :]])
        return np.append(tokens, np.int32(generation.last_token))

    def _shift_by_requeueing(self) -> None:
        """Requests that could not shift, since others share their cells, decode what is left once more."""
        for request_id in tuple(self._to_shift):
            generation = self._generations.get(request_id)
            if generation is None:
                del self._to_shift[request_id]
            else:
                self._scheduler.requeue(generation.sequence, self._reached(generation.sequence))

    def _drafts(self, plan: Plan) -> dict[int, Match]:
        """Drafts by request id. None beside prompts, which keep the processor busy enough."""
        if plan.chunks or not self._cache.can_trim:
            return {}
        return self._drafter.drafts([self._generations[sequence.request_id] for sequence in plan.decoding])

    def _decode(self, plan: Plan) -> Decoded:
        self._context.use_threads(self._threads.n_max if plan.is_alone else self._threads.n_threads)
        self._context.reset_abort()
        request_ids = [sequence.request_id for sequence in plan.sequences()]
        self._inbox.step_begins(request_ids, self._context.abort_step)
        try:
            media = plan.media
            if media is None or media.placed is None:
                return self._context.decode()
            batch = media_batch(self._cache, media, media.placed)
            return self._context.decode_embeddings(batch, is_causal=media.placed.span.is_causal)
        finally:
            self._inbox.step_ends()

    def _after_decode(
        self, plan: Plan, drafts: Mapping[int, Match], deltas: list[TokenDelta], ended: list[FromEngine]
    ) -> None:
        """Record what is in memory now, choose the next tokens, and end who has come to an end."""
        n_scored = 0
        if (scored := plan.scored) is not None:
            generation = self._generations[scored.sequence.request_id]
            n_scored = score(generation, self._model, scored, self._context.logits())
        outputs = self._record(plan)
        if not outputs:
            return
        rows = self._context.logits()[n_scored:]
        known = known_of_rows(rows, [generation.sampler for generation in outputs])
        first = 0
        for generation in outputs:
            draft = drafts.get(generation.sequence.request_id)
            end = first + 1 + (len(draft.tokens) if draft else 0)
            try:
                released = self._advance(generation, rows[first], known[first])
                if draft is not None:
                    more = slice(first + 1, end)
                    released = self._verify(generation, rows[more], known[more], draft, released)
            except EngineFailure as error:
                ended.append(self._fail(generation, error))
                continue
            finally:
                first = end
            if released.tokens or released.text or released.logprobs or generation.scored is not None:
                deltas.append(generation.delta(released))
            if generation.end is not None:
                ended.append(self._finish(generation))

    def _record(self, plan: Plan) -> list[Generation]:
        """Record what the step put in memory; returns the requests that have a row of logits, in order."""
        outputs: list[Generation] = []
        for sequence, chunk in plan.rows():
            generation = self._generations[sequence.request_id]
            if chunk is None:
                self._cache.append(sequence.slot, generation.last_token)
            else:
                record_chunk(self._cache, chunk)
                self._scheduler.prefilled(chunk)
                if sequence.n_prefilled in sequence.stops:
                    self._memory.checkpoint(sequence.slot)
            if chunk is None or chunk.is_last:
                outputs.append(generation)
        return outputs

    def _advance(self, generation: Generation, row: Row, known: Known) -> Released:
        """Choose a token from a row and see whether it can be decoded; returns what may be shown."""
        released = choose_next(generation, self._model, row, known)
        if generation.end is None and not self._make_room(generation):
            generation.end = "length"
        if generation.end == "length":
            return joined(released, generation.text.finish())
        return released

    def _verify(
        self, generation: Generation, rows: Rows, known: list[Known], draft: Match, released: Released
    ) -> Released:
        """Go on through the rows of a draft as long as what was chosen is what was guessed.

        `released`: what the row before the draft gave; returned with what the draft adds. Each token is
        chosen from its own row as it would be without a draft, so nothing but the time changes.
        """
        slot = generation.sequence.slot
        n_accepted = 0
        try:
            for token, row, known_of_row in zip(draft.tokens.tolist(), rows, known, strict=True):
                if generation.end is not None or generation.last_token != token:
                    break
                self._cache.append(slot, token)
                n_accepted += 1
                released = joined(released, self._advance(generation, row, known_of_row))
        finally:
            if n_accepted < len(draft.tokens):
                self._context.remove(slot, self._cache.position(slot, self._cache.length(slot)))
        self._drafter.observed(generation, draft, n_accepted)
        return released

    def _make_room(self, generation: Generation) -> bool:
        """Make sure that the chosen token can be decoded; False when the context is full for good."""
        slot = generation.sequence.slot
        n = self._cache.length(slot)
        if generation.params.context_shift and self._context.can_shift and n + 1 >= self._n_ctx:
            n_keep = n_shift_keep(generation.params, self._model, generation.n_prompt)
            n_keep, n_discard = shift_sizes(n, n_ctx=self._n_ctx, n_keep=n_keep)
            if n_discard > 0 and not self._memory.shift(slot, n_keep, n_discard):
                self._to_shift[generation.sequence.request_id] = (n_keep, n_discard)
        return self._cache.length(slot) < self._n_ctx

    # Ends.

    def _finish(self, generation: Generation) -> Finished:
        timings = generation.timings()
        self._close(generation)
        return Finished(
            request_id=generation.sequence.request_id,
            reason=generation.end or "cancelled",
            timings=timings,
            stop_text=generation.text.stop_text,
        )

    def _fail(self, generation: Generation, error: EngineFailure) -> Failed:
        self._close(generation)
        return error.as_message(generation.sequence.request_id)

    def _close(self, generation: Generation) -> None:
        self._scheduler.end(generation.sequence)
        generation.sampler.close()
        del self._generations[generation.sequence.request_id]
        self._inbox.forget(generation.sequence.request_id)
        if self._scheduler.is_idle:
            self.saver.went_idle()

    def _not_done(self, plan: Plan, outcome: Decoded, *, has_drafts: bool) -> list[FromEngine]:
        """Nothing of the step counts. Aborted: the aborts are in the inbox."""
        failed: list[FromEngine] = []
        if outcome is Decoded.ABORTED:
            self._memory.forget_unrecorded([sequence.slot for sequence in plan.sequences()])
        elif has_drafts:
            self._drafter.pause()
        elif not self._memory.evict_oldest():
            failed = self._make_way(plan)
        return [Step((), self._step_stats(0.0)), *failed]

    def _make_way(self, plan: Plan) -> list[FromEngine]:
        """llama.cpp has no room for a step: try a smaller one, then without the youngest request."""
        running = self._scheduler.running
        if plan.can_shrink:
            self._n_prompt_tokens_max = plan.n_prompt_tokens // 2
        elif len(running) > 1:
            youngest = max(running, key=lambda sequence: sequence.age)
            self._scheduler.requeue(youngest, self._reached(youngest))
        else:
            error = DecodeFailed("the context has no room for the next token")
            return [self._fail(self._generations[sequence.request_id], error) for sequence in running]
        return []

    def _all_failed(self, error: Exception) -> list[FromEngine]:
        """The state of the memory is unknown: everyone with a slot fails, and the memory starts over."""
        failure = error if isinstance(error, EngineFailure) else NoMemory("the engine ran out of memory")
        failed: list[FromEngine] = [
            self._fail(self._generations[sequence.request_id], failure)
            for sequence in self._scheduler.running
        ]
        self._context.clear()
        self._cache.clear()
        self._n_prompt_tokens_max = self._context.n_batch
        return failed

    def _step_stats(self, seconds: float) -> StepStats:
        running = self._scheduler.running
        return StepStats(
            n_busy_slots=len(running),
            n_queued=self._scheduler.n_queued,
            n_kv_tokens=self._cache.n_held([sequence.slot for sequence in running]),
            host_cache_bytes=self._states.host.n_bytes,
            step_ms=seconds * 1e3,
            prefilling=tuple(
                (sequence.request_id, sequence.n_prefilled, len(sequence.tokens))
                for sequence in running
                if sequence.phase is Phase.PREFILL
            ),
        )
