"""Drafts change how long an answer takes and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from server.engine.draft import StepCosts
from server.engine.drafter import Drafter
from server.engine.model import Model
from server.engine.token_tree import trees_of
from server.ipc.messages import Finished
from server.prompts.grammar import grammar_for
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, STORY, Player

NUMBERS = 'root ::= "[" [0-9]+ ("," [0-9]+){8} "]"'
PERSON = {
    "type": "object",
    "properties": {"given_name": {"type": "string", "maxLength": 8}, "is_grown_up": {"type": "boolean"}},
    "required": ["given_name", "is_grown_up"],
}
LIST = "one two three four five six seven eight nine ten "


class EqualSteps(StepCosts):
    """Each step takes as long as any other, so every guess is worth a try."""

    def measured(self, n_rows: int, seconds: float) -> None:
        pass

    def seconds(self, n_rows: int) -> float:
        return 0.01


def drafting(make_engine: MakeEngine, model: Model, **values: object) -> Player:
    """A player whose every guess is drafted."""
    player = Player(make_engine(model, **values))
    generator = player.generator
    generator._drafter = Drafter(
        generator._cache,
        n_ctx=generator._n_ctx,
        n_rows_max=generator._context.n_outputs_max,
        costs=EqualSteps(),
    )
    return player


def both(make_engine: MakeEngine, model: Model, prompt: str, **options: object) -> tuple[Finished, Finished]:
    """The ends of one request with and without drafts, after a look at text, tokens and probabilities."""
    guessed, plain = drafting(make_engine, model), Player(make_engine(model))
    text, end = guessed.run(prompt, **options)
    expected, expected_end = plain.run(prompt, n_draft=0, **options)
    assert text == expected
    assert guessed.tokens(1) == plain.tokens(1)
    assert (end.reason, end.stop_text) == (expected_end.reason, expected_end.stop_text)
    assert end.timings.n_output_tokens == expected_end.timings.n_output_tokens
    mine = [p for delta in guessed.deltas.get(1, ()) for p in delta.logprobs]
    theirs = [p for delta in plain.deltas.get(1, ()) for p in delta.logprobs]
    assert [p.token for p in mine] == [p.token for p in theirs]
    assert [p.logprob for p in mine] == pytest.approx([p.logprob for p in theirs], abs=0.05)
    assert expected_end.timings.n_drafted_tokens == 0
    return end, expected_end


@pytest.mark.parametrize("prompt", [LIST * 4, STORY, FRANCE])
@pytest.mark.parametrize("n_predict", [1, 2, 40, 120])
def test_the_likeliest_tokens_stay_the_same(
    make_engine: MakeEngine, spark_f16: Model, prompt: str, n_predict: int
) -> None:
    both(make_engine, spark_f16, prompt, n_predict=n_predict, logit_bias=EOG)


def test_a_repeated_text_is_guessed(make_engine: MakeEngine, spark_f16: Model) -> None:
    end, _ = both(make_engine, spark_f16, LIST * 4, n_predict=100, logit_bias=EOG)
    assert end.timings.n_accepted_tokens > 20
    assert end.timings.n_accepted_tokens <= end.timings.n_drafted_tokens


@pytest.mark.parametrize("seed", range(6))
def test_the_same_seed_gives_the_same_text(make_engine: MakeEngine, spark_f16: Model, seed: int) -> None:
    both(make_engine, spark_f16, LIST * 4, n_predict=60, temperature=0.8, seed=seed, repeat_penalty=1.1)


def test_stop_texts_and_probabilities(make_engine: MakeEngine, spark_f16: Model) -> None:
    both(make_engine, spark_f16, LIST * 4, n_predict=60, logit_bias=EOG, logprobs=True, n_top_logprobs=2)
    text, _ = Player(make_engine(spark_f16)).run(LIST * 4, n_predict=60, logit_bias=EOG)
    both(make_engine, spark_f16, LIST * 4, n_predict=60, logit_bias=EOG, stop=(text[20:26],))


def test_a_grammar_holds(make_engine: MakeEngine, spark_f16: Model) -> None:
    both(make_engine, spark_f16, LIST * 4, n_predict=60, grammar=NUMBERS)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8, "seed": 3}])
def test_what_a_schema_leaves_no_choice_about_is_guessed(
    make_engine: MakeEngine, spark_f16: Model, options: dict[str, object]
) -> None:
    trees_of(spark_f16).settle()  # as long as the vocabulary is not read, nothing is guessed
    grammar = grammar_for(PERSON)
    end, _ = both(make_engine, spark_f16, STORY, n_predict=80, grammar=grammar, **options)
    assert end.timings.n_accepted_tokens >= 3


def test_many_at_once_answer_as_alone(make_engine: MakeEngine, spark_f16: Model) -> None:
    prompts = [LIST * n for n in (2, 3, 4, 5)] + [STORY, FRANCE]
    alone = [Player(make_engine(spark_f16)).run(prompt, n_predict=50, n_draft=0)[0] for prompt in prompts]
    player = drafting(make_engine, spark_f16, n_slots=4)
    ids = [player.submit(prompt, n_predict=50) for prompt in prompts]
    while len(player.ends) < len(ids):
        player.step()
    assert [player.text(request_id) for request_id in ids] == alone


def test_the_next_turn_finds_only_what_was_kept(make_engine: MakeEngine, spark_f16: Model) -> None:
    player = drafting(make_engine, spark_f16, n_slots=1)
    first, _ = player.run(LIST * 4, n_predict=37, logit_bias=EOG)
    second, end = player.run(LIST * 4 + first + " and", n_predict=30, logit_bias=EOG)
    assert end.timings.n_cached_tokens > 0
    assert (
        second
        == Player(make_engine(spark_f16)).run(LIST * 4 + first + " and", n_predict=30, logit_bias=EOG)[0]
    )


def test_a_context_that_slides_is_not_disturbed(make_engine: MakeEngine, spark_f16: Model) -> None:
    player = drafting(make_engine, spark_f16, n_ctx=256, n_slots=1)
    _, end = player.run(LIST * 4, n_predict=600, logit_bias=EOG)
    assert (end.reason, end.timings.n_output_tokens) == ("length", 600)


def test_guesses_do_not_change_how_often_tokens_are_chosen(make_engine: MakeEngine, spark_f16: Model) -> None:
    """A chi-square test: other seeds with drafts and without, the same shares of each answer."""
    options = {"n_predict": 4, "temperature": 0.8, "top_k": 5, "logit_bias": EOG}
    counts = [Counter[str](), Counter[str]()]
    n_accepted = 0
    loop, _ = Player(make_engine(spark_f16, n_slots=1)).run(LIST * 4, n_predict=80, logit_bias=EOG)
    guessing, plain = drafting(make_engine, spark_f16, n_slots=1), Player(make_engine(spark_f16, n_slots=1))
    for seed in range(400):
        text, end = guessing.run(LIST * 4 + loop, seed=seed, **options)
        n_accepted += end.timings.n_accepted_tokens
        counts[0][text] += 1
        text, _ = plain.run(LIST * 4 + loop, seed=10_000 + seed, n_draft=0, **options)
        counts[1][text] += 1
    assert n_accepted > 100
    common = [text for text, n in (counts[0] + counts[1]).items() if n >= 10]
    rest = [sum(n for text, n in answers.items() if text not in common) for answers in counts]
    pairs = [(counts[0][text], counts[1][text]) for text in common] + [(rest[0], rest[1])]
    statistic = sum((a - b) ** 2 / (a + b) for a, b in pairs if a + b)
    assert len(common) >= 3
    assert statistic < chi_square_bound(len(pairs))


def chi_square_bound(n_classes: int) -> float:
    """What the statistic of equal distributions exceeds once in 100,000 times (Wilson and Hilferty, 1931)."""
    n_free = n_classes - 1
    return float(n_free * (1 - 2 / (9 * n_free) + 4.26 * (2 / (9 * n_free)) ** 0.5) ** 3)
