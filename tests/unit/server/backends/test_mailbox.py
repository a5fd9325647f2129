from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from server.backends.base import TextDelta
from server.backends.mailbox import End, Mailbox, SessionEnd
from server.ipc.messages import EngineTimings, Finished, TokenDelta
from server.types.generation import PromptLogprobs
from tests.support.clock import run_virtual

FINISHED = Finished(request_id=1, reason="stop", timings=EngineTimings())


def delta(text: str, n_tokens: int = 1) -> TokenDelta:
    return TokenDelta(request_id=1, tokens=tuple(range(n_tokens)), text=text)


@given(st.lists(st.one_of(st.text(max_size=4), st.just(None)), max_size=30))
def test_nothing_is_lost_however_puts_and_takes_alternate(script: list[str | None]) -> None:
    async def scenario() -> None:
        box = Mailbox(1)
        taken: list[TextDelta] = []
        waiting = 0
        for step in script:
            if step is not None:
                box.put(delta(step))
                waiting += 1
            elif waiting:
                item = await box.take()
                assert isinstance(item, TextDelta)
                taken.append(item)
                waiting = 0
        box.end(FINISHED)
        while isinstance(item := await box.take(), TextDelta):
            taken.append(item)
        assert item is FINISHED
        puts = [step for step in script if step is not None]
        assert "".join(item.text for item in taken) == "".join(puts)
        assert sum(item.n_tokens for item in taken) == len(puts)
        assert box.tokens.tolist() == [0] * len(puts)
        assert box.n_characters == len("".join(puts))

    run_virtual(scenario())


def test_the_scores_of_a_prompt_come_once_with_what_waits() -> None:
    async def scenario() -> None:
        box = Mailbox(1)
        scores = PromptLogprobs("a")
        box.put(TokenDelta(request_id=1, tokens=(), prompt_logprobs=scores))
        box.put(delta("b"))
        first = await box.take()
        box.put(delta("c"))
        second = await box.take()
        assert isinstance(first, TextDelta) and isinstance(second, TextDelta)
        assert (first.prompt_logprobs, first.text) == (scores, "b")
        assert (second.prompt_logprobs, second.text) == (None, "c")

    run_virtual(scenario())


def test_first_end_counts_and_stays() -> None:
    async def scenario() -> None:
        box = Mailbox(1)
        box.end(FINISHED)
        box.end(SessionEnd(cause="crashed"))
        box.put(delta("late"))
        assert [await box.take(), await box.take()] == [FINISHED, FINISHED]

    run_virtual(scenario())


def test_the_first_delta_tells_of_the_time_before_it_and_the_end_has_its_time() -> None:
    async def scenario() -> None:
        box = Mailbox(1)
        first = EngineTimings(n_prompt_tokens=3)
        for begun in (first, None, EngineTimings()):
            box.put(TokenDelta(request_id=1, tokens=(1,), begun=begun))
        box.end(FINISHED, 2.5)
        box.end(FINISHED, 3.5)
        assert box.begun is first
        assert box.ended_s == 2.5

    run_virtual(scenario())


def test_take_waits_for_news() -> None:
    async def scenario() -> None:
        box = Mailbox(1)
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, box.put, delta("a"))
        start_s = loop.time()
        assert await box.take() == TextDelta(text="a", n_tokens=1)
        assert loop.time() - start_s >= 5.0

    run_virtual(scenario())


def test_waiting_for_the_end_drops_what_comes_before() -> None:
    async def scenario() -> None:
        box = Mailbox(1)
        box.put(delta("a"))
        waiter: asyncio.Task[End] = asyncio.create_task(box.wait_end())
        await asyncio.sleep(1)
        box.put(delta("b"))
        box.end(FINISHED)
        assert await waiter is FINISHED
        assert await box.take() is FINISHED

    run_virtual(scenario())
