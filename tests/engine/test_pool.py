"""Slots that share a pool smaller than their contexts: all requests finish, as each would alone."""

from __future__ import annotations

import pytest

from server.engine.batch import TokenArray
from server.engine.context import Decoded
from server.engine.model import Model
from server.engine.sequence import Sequence
from server.ipc.messages import Failed, Finished
from server.types.generation import StateCacheParams
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, Player

N_CTX = 512


def prompts(n: int, *, n_filler: int = 0) -> list[str]:
    filler = "The quick brown fox jumps over the lazy dog. " * n_filler
    return [
        f"<|im_start|>user\n{filler}Count from {number} to {number + 9}.<|im_end|>\n<|im_start|>assistant\n"
        for number in range(n)
    ]


def alone(make_engine: MakeEngine, model: Model, texts: list[str], **options: object) -> list[str]:
    return [Player(make_engine(model, n_slots=1, n_ctx=N_CTX)).run(text, **options)[0] for text in texts]


def run_all(player: Player, texts: list[str], **options: object) -> list[str]:
    ids = [player.submit(text, **options) for text in texts]  # type: ignore[arg-type]
    for _ in range(20_000):
        if len(player.ends) >= len(ids):
            break
        player.step()
    ends = [player.ends[request_id] for request_id in ids]
    assert all(isinstance(end, Finished) for end in ends), ends
    return [player.text(request_id) for request_id in ids]


@pytest.mark.parametrize("host_bytes", [0, 1 << 26])
def test_more_than_fits_is_answered_as_alone(
    make_engine: MakeEngine, spark_f16: Model, host_bytes: int
) -> None:
    texts = prompts(6, n_filler=8)
    options = {"n_predict": 120, "logit_bias": EOG}
    engine = make_engine(
        spark_f16,
        n_slots=4,
        n_ctx=N_CTX,
        n_pool_cells=N_CTX,
        state_cache=StateCacheParams(host_bytes=host_bytes),
    )
    player = Player(engine)
    found = run_all(player, texts, **options)
    expected = alone(make_engine, spark_f16, texts, **options)
    for one, other in zip(found, expected, strict=True):
        assert one[:80] == other[:80]
    assert max(step.stats.n_busy_slots for step in player.steps) > 1
    assert all(step.stats.n_kv_tokens <= N_CTX for step in player.steps)


def n_preempted(player: Player, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Requests that went back to the queue, in order, from now on."""
    scheduler = player.generator._scheduler
    requeue, seen = scheduler.requeue, []

    def record(sequence: Sequence, tokens: TokenArray) -> None:
        seen.append(sequence.request_id)
        requeue(sequence, tokens)

    monkeypatch.setattr(scheduler, "requeue", record)
    return seen


@pytest.mark.parametrize("host_bytes", [0, 1 << 26])
@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8, "seed": 5}])
def test_the_youngest_makes_way_and_goes_on_later(
    make_engine: MakeEngine,
    spark_f16: Model,
    monkeypatch: pytest.MonkeyPatch,
    host_bytes: int,
    sampling: dict[str, object],
) -> None:
    texts = prompts(2)
    options = {"n_predict": 400, "logit_bias": EOG, "n_draft": 0, **sampling}
    cache = StateCacheParams(host_bytes=host_bytes)
    engine = make_engine(spark_f16, n_slots=4, n_ctx=N_CTX, n_pool_cells=640, state_cache=cache)
    player = Player(engine)
    preempted = n_preempted(player, monkeypatch)
    found = run_all(player, texts, **options)
    assert set(preempted) == {2}
    expected = alone(make_engine, spark_f16, texts, **options)
    assert found[0][:200] == expected[0][:200]
    assert found[1][:200] == expected[1][:200]
    for request_id in (1, 2):
        end = player.ends[request_id]
        assert isinstance(end, Finished)
        assert end.timings.n_output_tokens == len(player.tokens(request_id)) == 400
        assert end.timings.n_cached_tokens == 0
    tokens = player.tokens(2)
    text = b"".join(spark_f16.piece(token) for token in tokens).decode("utf-8", "replace")
    assert text == found[1]


def test_beginnings_are_shared_without_cells_of_their_own(make_engine: MakeEngine, spark_f16: Model) -> None:
    texts = prompts(4, n_filler=19)
    n_prompt = len(spark_f16.tokenize(texts[0]))
    assert n_prompt > 300
    engine = make_engine(spark_f16, n_slots=4, n_ctx=N_CTX, n_pool_cells=768)
    player = Player(engine)
    found = run_all(player, texts, n_predict=20)
    assert found == alone(make_engine, spark_f16, texts, n_predict=20)
    assert max(step.stats.n_busy_slots for step in player.steps) == 4
    ends = [player.ends[request_id] for request_id in (2, 3, 4)]
    assert all(isinstance(end, Finished) and end.timings.n_cached_tokens > 256 for end in ends)


def test_a_context_slides_without_harm_to_those_who_share_its_beginning(
    make_engine: MakeEngine, spark_f16: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = prompts(2, n_filler=19)
    options = {"n_keep": 0, "logit_bias": EOG, "n_draft": 0}
    n_left = N_CTX - 1 - len(spark_f16.tokenize(texts[0]))
    engine = make_engine(spark_f16, n_slots=4, n_ctx=N_CTX, n_pool_cells=1024)
    player = Player(engine)
    requeued = n_preempted(player, monkeypatch)
    first = player.submit(texts[0], n_predict=300, **options)
    second = player.submit(texts[1], n_predict=n_left, **options)
    while len(player.ends) < 2:
        player.step()
    assert requeued == [first]
    one, other = alone(make_engine, spark_f16, texts, n_predict=n_left, **options)
    assert player.text(second) == other
    assert player.text(first).startswith(one)
    assert len(player.tokens(first)) == 300


def test_a_context_slides_over_what_idle_slots_share(
    make_engine: MakeEngine, spark_f16: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = prompts(2, n_filler=19)
    options = {"n_keep": 0, "logit_bias": EOG}
    player = Player(make_engine(spark_f16, n_slots=4, n_ctx=N_CTX, n_pool_cells=1024))
    requeued = n_preempted(player, monkeypatch)
    player.run(texts[0], n_predict=150, **options)
    text, end = player.run(texts[1], n_predict=300, **options)
    assert end.timings.n_cached_tokens > 256
    assert (end.timings.n_output_tokens, requeued) == (300, [])
    (expected,) = alone(make_engine, spark_f16, texts[1:], n_predict=100, **options)
    assert text.startswith(expected)


def test_who_asks_for_the_same_tokens_gets_them_in_a_pool(make_engine: MakeEngine, spark: Model) -> None:
    texts = prompts(3, n_filler=4)
    player = Player(make_engine(spark, n_slots=4, n_ctx=N_CTX, n_pool_cells=N_CTX + 256))
    options = {"temperature": 1.0, "deterministic": True, "logprobs": True, "n_predict": 30}
    player.run(texts[0], **options)
    crowd = [player.submit(text, n_predict=40) for text in texts[1:]]
    player.step()
    again = player.submit(texts[0], **options)
    while len(player.ends) < 4:
        player.step()
    assert player.deltas[again] == [
        delta.__class__(
            request_id=again,
            tokens=delta.tokens,
            text=delta.text,
            logprobs=delta.logprobs,
            begun=mine.begun,
        )
        for delta, mine in zip(player.deltas[1], player.deltas[again], strict=True)
    ]
    assert all(isinstance(player.ends[request_id], Finished) for request_id in crowd)


@pytest.mark.parametrize("n_pool_cells", [0, 1024])
def test_a_step_that_finds_no_room_fails_nobody_who_can_finish(
    make_engine: MakeEngine, spark_f16: Model, monkeypatch: pytest.MonkeyPatch, n_pool_cells: int
) -> None:
    texts = prompts(3)
    engine = make_engine(spark_f16, n_slots=4, n_ctx=N_CTX, n_pool_cells=n_pool_cells)
    player, context = Player(engine), engine.context
    decode, n_left = context.decode, 30

    def full() -> Decoded:
        nonlocal n_left
        if len(player.generator._scheduler.running) > 1 and n_left:
            n_left -= 1
            return Decoded.NO_ROOM
        return decode()

    monkeypatch.setattr(context, "decode", full)
    assert run_all(player, texts, n_predict=30) == alone(make_engine, spark_f16, texts, n_predict=30)
    assert n_left < 30


def test_a_request_fails_alone_when_nothing_has_room(
    make_engine: MakeEngine, spark_f16: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(spark_f16, n_slots=4, n_ctx=N_CTX, n_pool_cells=1024)
    player = Player(engine)
    with monkeypatch.context() as patch:
        patch.setattr(engine.context, "decode", lambda: Decoded.NO_ROOM)
        request_id = player.submit(prompts(1)[0])
        while request_id not in player.ends:
            player.step()
    end = player.ends[request_id]
    assert isinstance(end, Failed)
    assert "no room for the next token" in end.message
    assert player.run(prompts(1)[0], n_predict=3)[1].reason == "length"
