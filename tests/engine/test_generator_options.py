"""Sampling options through the whole engine, and what happens when a step fails."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from server.engine.detokenizer import Released
from server.engine.failures import BadGrammar, BadRequest, DecodeFailed
from server.engine.generation import Generation
from server.engine.model import Model
from server.engine.row_reader import RowReader
from server.engine.sampler import Sampler
from server.ipc.messages import Abort, Failed, Finished
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, STORY, Player


@pytest.fixture
def player(make_engine: MakeEngine, spark: Model) -> Player:
    return Player(make_engine(spark))


# Sampling through the whole engine.


def test_equal_seeds_give_equal_texts(make_engine: MakeEngine, spark_f16: Model) -> None:
    options = {"temperature": 1.0, "seed": 5, "n_predict": 24}
    texts = {Player(make_engine(spark_f16, n_slots=1)).run(STORY, **options)[0] for _ in range(2)}
    assert len(texts) == 1
    other = Player(make_engine(spark_f16, n_slots=1)).run(STORY, **{**options, "seed": 6})[0]
    assert {other} != texts


def test_a_request_frees_its_sampler(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Sampler] = []
    close = Sampler.close

    def noted(sampler: Sampler) -> None:
        closed.append(sampler)
        close(sampler)

    monkeypatch.setattr(Sampler, "close", noted)
    player.run(FRANCE, n_predict=1)
    player.generator.abort(player.submit(FRANCE))
    assert len(set(closed)) == len(closed) == 2


def test_an_abort_that_was_carried_out_is_forgotten(player: Player) -> None:
    inbox = player.generator._inbox
    for request_id in (player.submit(FRANCE), 99):
        inbox._put(Abort(request_id))  # as the thread does that reads what the server sends
        player.generator.abort(request_id)
    assert not inbox._aborted


def test_a_grammar_shapes_the_answer(player: Player) -> None:
    text, end = player.run(FRANCE, grammar='root ::= "[" [0-9]{3} ("," [0-9]{3}){2} "]"')
    assert re.fullmatch(r"\[\d{3}(,\d{3}){2}\]", text)
    assert end.reason == "stop"


@pytest.mark.parametrize("top_k", [0, 40])
def test_a_grammar_that_is_through_ends_an_answer_that_ignores_ends(player: Player, top_k: int) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "seed": 1, "top_k": top_k, "ignore_eos": True}
    text, end = player.run(FRANCE, grammar='root ::= "yes"', **options)
    assert (text, end.reason) == ("yes", "stop")


def test_a_bad_grammar_fails_only_its_request(player: Player) -> None:
    with pytest.raises(BadGrammar):
        player.submit(FRANCE, grammar="root ::= (")
    assert player.generator.is_idle
    assert player.run(FRANCE)[0] == "The capital of France is Paris."


def test_a_grammar_that_allows_nothing_fails_only_its_request(player: Player) -> None:
    stuck = player.submit(FRANCE, grammar='root ::= "a" [z-a]')
    fine = player.submit(FRANCE)
    while len(player.ends) < 2:
        player.step()
    failed = player.ends[stuck]
    assert isinstance(failed, Failed)
    assert failed.kind == "invalid_grammar"
    assert player.text(fine) == "The capital of France is Paris."


def test_log_probabilities_are_those_of_the_model(player: Player, spark: Model) -> None:
    text, _ = player.run(FRANCE, logprobs=True, n_top_logprobs=3, repeat_penalty=1.05)
    logprobs = [item for delta in player.deltas[1] for item in delta.logprobs]
    assert "".join(item.token for item in logprobs) == text
    assert [item.token_bytes for item in logprobs] == [spark.piece(token) for token in player.tokens(1)]
    for item in logprobs:
        assert len(item.top) == 3
        values = [alternative.logprob for alternative in item.top]
        assert values == sorted(values, reverse=True)
        assert max(values) <= 0.0
        assert sum(math.exp(value) for value in values) <= 1.0 + 1e-6
        assert item.logprob <= values[0] + 1e-6
        assert all(alternative.token for alternative in item.top)


def test_log_probabilities_of_part_characters_have_their_bytes(player: Player) -> None:
    prompt = "<|im_start|>user\nShow me an emoji.<|im_end|>\n<|im_start|>assistant\n"
    text, _ = player.run(prompt, logprobs=True)
    logprobs = [item for delta in player.deltas[1] for item in delta.logprobs]
    assert b"".join(item.token_bytes for item in logprobs).decode() == text
    assert all(item.token and item.top == () for item in logprobs)


# Faults.


def test_token_ids_out_of_range_are_refused(player: Player, spark: Model) -> None:
    for bad in (-1, spark.n_vocab, 2**40):
        with pytest.raises(BadRequest, match="vocabulary"):
            player.submit((1, bad))
        with pytest.raises(BadRequest, match="vocabulary"):
            player.submit("x", emitted=(bad,))
    assert player.generator.is_idle


@pytest.mark.parametrize("error", [DecodeFailed("broken"), MemoryError()], ids=["decode", "memory"])
def test_a_failed_step_fails_its_requests_and_the_engine_goes_on(
    make_engine: MakeEngine, spark: Model, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    engine = make_engine(spark, n_slots=2)
    player = Player(engine)
    before = Player(engine).run(STORY, n_predict=8)[0]
    ids = [player.submit(FRANCE) for _ in range(3)]

    def fail() -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine.context, "decode", fail)
        player.step()
    assert sorted(player.ends) == ids[:2]
    kinds = {end.kind for end in player.ends.values() if isinstance(end, Failed)}
    assert kinds == {"engine" if isinstance(error, DecodeFailed) else "out_of_memory"}
    while ids[2] not in player.ends:
        player.step()
    assert isinstance(player.ends[ids[2]], Finished)
    assert player.run(FRANCE)[0] == "The capital of France is Paris."
    text, end = player.run(STORY, n_predict=8)
    assert (text, end.timings.n_cached_tokens < 8) == (before, True), "what was in memory is gone"


@pytest.mark.parametrize("n_steps", [0, 4])
def test_a_fault_nobody_expected_costs_one_request(
    player: Player, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], n_steps: int
) -> None:
    expected, _ = player.run(STORY, n_predict=12)
    broken = player.submit(FRANCE, n_predict=12, temperature=1.0, logit_bias=EOG)
    other = player.submit(STORY, n_predict=12)
    for _ in range(n_steps):
        player.step()
    sampler = player.generator._generations[broken].sampler

    def break_down(_: object) -> int:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(sampler, "sample", break_down)
    while len(player.ends) < 3:
        player.step()
    failed = player.ends[broken]
    assert isinstance(failed, Failed) and "ZeroDivisionError: of all things" in failed.message
    assert player.text(other) == expected
    assert "Traceback" in capfd.readouterr().err


def test_an_end_that_came_before_a_fault_of_the_step_is_still_told(
    make_engine: MakeEngine, spark: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player(make_engine(spark))
    first, second = player.submit(FRANCE, n_predict=1), player.submit(FRANCE, n_predict=1)
    advance = RowReader._advance

    def fail_at_the_second(self: RowReader, generation: Generation, *rest: Any) -> Released:
        if generation.sequence.request_id == second:
            raise MemoryError
        return advance(self, generation, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(RowReader, "_advance", fail_at_the_second)
        while len(player.ends) < 2:
            player.step()
    assert isinstance(player.ends[first], Finished)
    failed = player.ends[second]
    assert isinstance(failed, Failed)
    assert failed.kind == "out_of_memory"


def test_each_step_tells_what_its_requests_have_in_memory(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_slots=1, n_batch=64))
    player.submit((7,) * 200, n_predict=1)
    while not player.ends:
        player.step()
    n_in_use = [step.stats.n_kv_tokens for step in player.steps]
    assert n_in_use == [64, 128, 192, 0], "what is kept is not in use"
