"""What the server keeps of an open call, so that another worker can take it over. Pure.

A generation is continued from the tokens that were received for it. The new worker decodes them behind the
prompt and goes on as the old one would have: penalties and grammar have seen them, random numbers are drawn
on from the same place for the same seed, and text that the old worker held back is generated again.
"""

from __future__ import annotations

from array import array
from typing import Final

import msgspec

from server.backends.base import GenerationDone, GenerationJob
from server.backends.mailbox import Mailbox, SessionEnd
from server.ipc.messages import EngineTimings, Finished, Submit

MAX_REPLAYS: Final = 2
"""How often a call is given to another worker."""


class Retries:
    """Whether a call that lost its worker is given to the next one.

    A call that alone had got nothing, in two crashes in a row, while others had, is taken to be their cause:
    it ends with the second, so that it cannot end the others with a third.
    """

    def __init__(self, request_id: int) -> None:
        self._request_id = request_id
        self._suspects: frozenset[int] = frozenset()
        self._n_lost = 0

    def may_go_on(self, end: SessionEnd) -> bool:
        """The worker is gone; may the call be given to another one?"""
        if end.cause == "closed":
            return False
        self._n_lost += 1
        suspects_of_both = self._suspects & end.suspects
        self._suspects = end.suspects
        is_cause = end.n_open > 1 and suspects_of_both == {self._request_id}
        return self._n_lost <= MAX_REPLAYS and not is_cause


class OpenGeneration:
    """A generation over all workers that have had a part in it. Times are seconds on any one clock.

    It holds 4 bytes for each token that lost workers generated; `n_predict`, or ten contexts, bound them.
    """

    def __init__(self, request_id: int, job: GenerationJob, now_s: float) -> None:
        self._request_id = request_id
        self._job = job
        self._retries = Retries(request_id)
        self._emitted = array("i")
        self._n_characters = 0
        self._n_refused = 0
        self._begun_s = now_s
        self._submitted_s = now_s
        self._first: EngineTimings | None = None  # as told with the first delta, when its worker is gone

    def submit(self, now_s: float) -> Submit:
        """The message to a worker that is to go on with it."""
        self._submitted_s = now_s
        return Submit(
            request_id=self._request_id,
            prompt=self._job.prompt,
            sampling=self._job.sampling,
            emitted=tuple(self._emitted),
            n_emitted_characters=self._n_characters,
            n_refused=self._n_refused,
        )

    def lost(self, end: SessionEnd, received: Mailbox) -> bool:
        """Its worker is gone, after it has sent what was received; may another one go on?"""
        self._emitted.extend(received.tokens)
        self._n_characters += received.n_characters
        self._n_refused += received.n_refused
        if self._first is None and received.begun is not None:
            self._first = self._with_lost_time(received.begun)
        return self._retries.may_go_on(end)

    def done(self, finished: Finished, ended_s: float) -> GenerationDone:
        """The last event. `ended_s`: when `finished` arrived.

        Queue and prompt are those before the first token; all that came after it is output, the time in which
        another worker caught up included. Cached is what no worker had to decode.
        """
        timings = finished.timings
        if self._first is None:
            timings = self._with_lost_time(timings)
        else:
            first = self._first
            total_ns = int((ended_s - self._begun_s) * 1e9)
            timings = msgspec.structs.replace(
                timings,
                n_cached_tokens=min(first.n_cached_tokens, timings.n_cached_tokens),
                queue_duration_ns=first.queue_duration_ns,
                prompt_duration_ns=first.prompt_duration_ns,
                output_duration_ns=max(0, total_ns - first.queue_duration_ns - first.prompt_duration_ns),
            )
        return GenerationDone(
            reason=finished.reason,
            n_prompt_tokens=timings.n_prompt_tokens,
            n_cached_tokens=timings.n_cached_tokens,
            n_output_tokens=timings.n_output_tokens,
            queue_duration_ns=timings.queue_duration_ns,
            prompt_duration_ns=timings.prompt_duration_ns,
            output_duration_ns=timings.output_duration_ns,
            stop_text=finished.stop_text,
            n_drafted_tokens=timings.n_drafted_tokens,
            n_accepted_tokens=timings.n_accepted_tokens,
        )

    def _with_lost_time(self, timings: EngineTimings) -> EngineTimings:
        """With the time up to the last submission, which brought nothing, as time in the queue."""
        lost_ns = int((self._submitted_s - self._begun_s) * 1e9)
        return msgspec.structs.replace(timings, queue_duration_ns=timings.queue_duration_ns + lost_ns)
