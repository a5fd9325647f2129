"""Generation for all slots of one context: from `Submit` to `Finished`, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from server.engine.batch import TokenArray
from server.engine.candidates import Candidates
from server.engine.cells import CellPool
from server.engine.checkpoints import checkpoint_lengths
from server.engine.context import Context, Decoded
from server.engine.draft import Match
from server.engine.draft_model import DraftModel
from server.engine.drafter import Drafter
from server.engine.failures import BadRequest, DecodeFailed, EngineFailure, NoMemory
from server.engine.generation import Generation, begin_generation
from server.engine.idle_saving import IdleSaver
from server.engine.inbox import Inbox
from server.engine.kv_cache import SlotCache
from server.engine.media import Media
from server.engine.memory_policy import PoolPolicy
from server.engine.model import Model
from server.engine.pace import MIN_CHUNK_TOKENS, Pace
from server.engine.prompt_scores import score
from server.engine.row_reader import RowReader
from server.engine.sampler import known_of_rows
from server.engine.scheduler import Scheduler
from server.engine.sequence import Phase, Plan, Sequence
from server.engine.slot_memory import SlotMemory
from server.engine.state_store import open_store
from server.engine.step_rows import StepRows, media_batch, record_chunk
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
        self._rows: StepRows | None = None  # of the last step
        self._reader = RowReader(model, context, self._cache, self._memory, self._observed, n_ctx)
        self._n_prompt_tokens_max = context.n_batch

    @property
    def is_idle(self) -> bool:
        """Whether no request is open."""
        return self._scheduler.is_idle

    @property
    def is_steady(self) -> bool:
        """Whether the next step is as the last one, and nobody has to know of that one before."""
        rows = self._rows
        if rows is None or rows.reports_at_once or self._scheduler.n_queued:
            return False
        return self._scheduler.is_steady

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
        rows = self._next_rows()
        plan = rows.plan
        drafts = self._drafts(rows)
        deltas: list[TokenDelta] = []
        ended: list[FromEngine] = []
        try:
            rows.fill(self._context.batch, self._cache, drafts)
            self._memory.free_cells(max(self._context.batch.n_tokens, plan.n_prompt_tokens))
            outcome = self._decode(rows)
            if outcome is not Decoded.DONE:
                return self._not_done(plan, outcome, has_drafts=bool(drafts))
            self._n_prompt_tokens_max = self._context.n_batch
            self._after_decode(rows, drafts, deltas, ended)
            self._shift_by_requeueing()
        except (EngineFailure, MemoryError) as error:
            ended += self._all_failed(error)
            return [Step(tuple(deltas), self._step_stats(0.0)), *ended]
        seconds = time.perf_counter() - begin
        self._measured(rows, seconds - self._drafter.take_spent_s())
        return [Step(tuple(deltas), self._step_stats(seconds)), *ended]

    # The parts of a step.

    def _next_rows(self) -> StepRows:
        """What the next step decodes; as a rule the same as the last one did."""
        n_prompt_tokens = 0
        if not self._scheduler.is_steady:
            n_prompt_tokens = self._pace.n_prompt_tokens(
                someone_decodes=self._scheduler.someone_decodes,
                n_batch=self._context.n_batch,
                n_longest=self._scheduler.n_longest_prompt,
                n_pressing=self._scheduler.n_pressing,
            )
        plan = self._scheduler.plan(min(n_prompt_tokens, self._n_prompt_tokens_max))
        if self._rows is None or self._rows.plan is not plan:
            self._rows = StepRows(plan, self._generations)
        return self._rows

    def _measured(self, rows: StepRows, seconds: float) -> None:
        """A step took so long: for the size of prompt chunks, the length of drafts, and the threads."""
        plan = rows.plan
        if plan.scored is not None:
            return  # it has more to compute than other prompts
        self._pace.measured(plan.n_prompt_tokens, seconds, someone_decodes=bool(plan.decoding))
        n_rows = self._context.batch.n_tokens
        if rows.is_alone:
            return
        if not plan.chunks:
            self._drafter.measured(n_rows, seconds)
            self._threads.measured(n_rows, seconds)
        elif plan.n_prompt_tokens >= MIN_CHUNK_TOKENS:
            cost_s = seconds / plan.n_prompt_tokens
            self._threads.measured("prompt", cost_s, is_steady=False)

    def _admit(self) -> None:
        if not self._scheduler.n_queued:
            return
        if self._context.keeps_windows:
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
        if sequence.request_id in self._reader.to_shift:
            n_keep, n_discard = self._reader.to_shift.pop(sequence.request_id)
            tokens = np.concatenate([tokens[:n_keep], tokens[n_keep + n_discard :]])
        return np.append(tokens, np.int32(generation.last_token))

    def _shift_by_requeueing(self) -> None:
        """Requests that could not shift, since others share their cells, decode what is left once more."""
        for request_id in tuple(self._reader.to_shift):
            generation = self._generations.get(request_id)
            if generation is None:
                del self._reader.to_shift[request_id]
            else:
                self._scheduler.requeue(generation.sequence, self._reached(generation.sequence))

    def _drafts(self, rows: StepRows) -> dict[int, Match]:
        """Drafts by request id. None beside prompts, which keep the processor busy enough."""
        if rows.plan.chunks or not self._cache.can_trim:
            return {}
        return self._drafter.drafts(rows.decoding)

    def _observed(self, generation: Generation, draft: Match, n_accepted: int) -> None:
        self._drafter.observed(generation, draft, n_accepted)

    def _decode(self, rows: StepRows) -> Decoded:
        self._context.use_threads(self._threads.n_max if rows.is_alone else self._threads.n_threads)
        self._context.reset_abort()
        self._inbox.step_begins(rows.request_ids, self._context.abort_step)
        try:
            media = rows.plan.media
            if media is None or media.placed is None:
                return self._context.decode()
            batch = media_batch(self._cache, media, media.placed)
            return self._context.decode_embeddings(batch, is_causal=media.placed.span.is_causal)
        finally:
            self._inbox.step_ends()

    def _after_decode(
        self,
        step: StepRows,
        drafts: Mapping[int, Match],
        deltas: list[TokenDelta],
        ended: list[FromEngine],
    ) -> None:
        """Record what is in memory now, choose the next tokens, and end who has come to an end."""
        n_scored = 0
        if (scored := step.plan.scored) is not None:
            generation = self._generations[scored.sequence.request_id]
            n_scored = score(generation, self._model, scored, self._context.logits())
        outputs = step.record_decoded(self._cache) or self._record(step)
        if not outputs:
            return
        rows = self._context.logits()[n_scored:]
        known = known_of_rows(rows, [generation.sampler for generation in outputs])
        first = 0
        for generation in outputs:
            draft = drafts.get(generation.sequence.request_id) if drafts else None
            end = first + 1 + (len(draft.tokens) if draft else 0)
            try:
                delta = self._reader.next_delta(generation, rows[first:end], known[first:end], draft)
            except EngineFailure as error:
                ended.append(self._fail(generation, error))
                continue
            finally:
                first = end
            if delta is not None:
                deltas.append(delta)
            if generation.end is not None:
                ended.append(self._finish(generation))

    def _record(self, step: StepRows) -> list[Generation]:
        """Record what the step put in memory; returns the requests that have a row of logits, in order."""
        outputs: list[Generation] = []
        for generation, chunk in step.entries:
            sequence = generation.sequence
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
        )
