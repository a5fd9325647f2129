"""Log probabilities of a prompt's tokens, as the softmax of the rows before them."""

from __future__ import annotations

import numpy as np
import pytest

from server.engine.loading import Engine
from server.engine.model import Model
from server.ipc.messages import Finished
from server.types.generation import PromptLogprobs
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import FRANCE, STORY, Player

LONG = STORY * 12


def tokens_of(model: Model, text: str) -> tuple[int, ...]:
    return tuple(int(token) for token in model.tokenize(text))


def scores_of(player: Player, request_id: int) -> PromptLogprobs:
    """What was told of a prompt, which is once and with the first delta."""
    first, *others = player.deltas[request_id]
    assert first.prompt_logprobs is not None and first.begun is not None
    assert all(delta.prompt_logprobs is None for delta in others)
    return first.prompt_logprobs


def exact(engine: Engine, model: Model, tokens: tuple[int, ...]) -> list[float]:
    """By the whole softmax in float64, from a decode without a scheduler."""
    context = engine.context
    context.clear()
    found: list[float] = []
    for start in range(0, len(tokens), 32):
        part = np.array(tokens[start : start + 32], np.int32)
        context.batch.clear()
        context.batch.add(0, part, start, output="all")
        context.decode()
        following = tokens[start + 1 : start + 33]
        for row, token in zip(context.logits().astype(np.float64), following, strict=False):
            found.append(float(row[token] - np.logaddexp.reduce(row)))
    return found


@pytest.mark.parametrize("text", [FRANCE, LONG])
def test_they_are_those_of_the_whole_softmax(make_engine: MakeEngine, spark: Model, text: str) -> None:
    tokens = tokens_of(spark, text)
    player = Player(make_engine(spark, n_slots=2))
    answer, end = player.run(tokens, prompt_logprobs=True, n_top_logprobs=3, n_predict=0)
    assert (answer, end.reason, end.timings.n_output_tokens) == ("", "length", 0)
    scored = scores_of(player, 1)
    wanted = exact(make_engine(spark, n_slots=2), spark, tokens)
    assert [one.logprob for one in scored.rest] == pytest.approx(wanted, abs=2e-2)
    assert [scored.first, *(one.token for one in scored.rest)] == [
        spark.piece(token, special=True).decode("utf-8", "replace") for token in tokens
    ]
    assert all(len(one.top) == 3 and one.top[0].logprob >= one.logprob for one in scored.rest)


@pytest.mark.parametrize("values", [{"n_slots": 3}, {"n_slots": 3, "n_pool_cells": 700}, {"n_slots": 1}])
def test_an_answer_goes_on_as_without_and_beside_others(
    make_engine: MakeEngine, spark: Model, values: dict[str, int]
) -> None:
    player = Player(make_engine(spark, **values))
    plain = player.run(FRANCE)[0]
    asked = player.submit(FRANCE, prompt_logprobs=True)
    other = player.submit(STORY, n_predict=20)
    scoring = player.submit(FRANCE, prompt_logprobs=True, n_predict=1)
    while len(player.ends) < 4:
        player.step()
    assert player.text(asked) == plain
    assert len(player.tokens(other)) == 20
    whole, alone = scores_of(player, asked), scores_of(player, scoring)
    assert [one.token for one in whole.rest] == [one.token for one in alone.rest]
    assert [one.logprob for one in whole.rest] == pytest.approx([one.logprob for one in alone.rest], abs=2e-2)
    end = player.ends[asked]
    assert isinstance(end, Finished) and end.timings.n_cached_tokens == 0
    assert player.run(FRANCE)[1].timings.n_cached_tokens > 0  # what it decoded is there for others


def test_a_prompt_of_one_token_has_only_a_first(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark))
    player.run((5,), prompt_logprobs=True, n_predict=1, logprobs=True)
    assert scores_of(player, 1).rest == ()
    assert len(player.deltas[1][0].logprobs) == 1


def test_the_token_that_ends_an_answer_has_one_too(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark))
    player.run(FRANCE, prompt_logprobs=True, logprobs=True)
    said = [one.token for delta in player.deltas[1] for one in delta.logprobs]
    assert said[-1] == "<|im_end|>" and "".join(said[:-1]) == player.text(1)
    player.run(FRANCE, prompt_logprobs=True, logprobs=True, n_predict=1, logit_bias=((spark.eos, 100.0),))
    assert [one.token for delta in player.deltas[2] for one in delta.logprobs] == ["<|im_end|>"]


def test_a_token_that_the_tokenizer_adds_is_told(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark))
    player.run("Once", prompt_logprobs=True, n_predict=0)
    player.run(tokens_of(spark, "Once"), prompt_logprobs=True, n_predict=0)
    assert scores_of(player, 1).is_first_added == spark.adds_bos
    assert not scores_of(player, 2).is_first_added


def test_a_worker_that_takes_over_does_not_tell_again(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark))
    text, _ = player.run(FRANCE, prompt_logprobs=True)
    emitted = player.tokens(1)[:3]
    rest, _ = Player.run(
        taking_over := Player(make_engine(spark)), FRANCE, prompt_logprobs=True, emitted=emitted
    )
    assert text.endswith(rest)
    assert all(delta.prompt_logprobs is None for delta in taking_over.deltas[1])
