"""A generation that goes on from what another worker emitted is the unbroken one, wherever it was cut."""

from __future__ import annotations

from typing import Any

import pytest

from server.engine.failures import BadGrammar, ContextFull
from server.engine.model import Model
from server.ipc.messages import TokenDelta
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, STORY, Player

EMOJI = "<|im_start|>user\nShow me an emoji.<|im_end|>\n<|im_start|>assistant\n"
GRAMMAR = 'root ::= "[" [0-9]{3} ("," [0-9]{3}){4} "]"'

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "greedy": (FRANCE, {}),
    "bytes of characters": (EMOJI, {}),
    "a bound": (STORY, {"n_predict": 12}),
    "a bound within a character": (EMOJI, {"n_predict": 6}),
    "a stop text": (FRANCE, {"stop": ("France is", "never")}),
    "a stop text within a token": (FRANCE, {"stop": ("anc", "cap.")}),
    "a stop text of many tokens": (STORY, {"stop": ("zzz", " was ", "a"), "n_predict": 30}),
    "penalties": (STORY, {"repeat_penalty": 1.3, "presence_penalty": 0.5, "n_predict": 24}),
    "sampled": (STORY, {"temperature": 0.9, "seed": 11, "n_predict": 16}),
    "sampled with penalties": (
        STORY,
        {"temperature": 0.7, "seed": 3, "repeat_penalty": 1.2, "n_predict": 16},
    ),
    "a grammar": (FRANCE, {"grammar": GRAMMAR}),
    "sampled under a grammar": (FRANCE, {"grammar": GRAMMAR, "temperature": 1.2, "seed": 9}),
    "a grammar asleep": (FRANCE, {"grammar": 'root ::= "of" " Spain"', "grammar_triggers": ("of",)}),
    "log probabilities": (EMOJI, {"logprobs": True, "n_top_logprobs": 2}),
    "a control token": (
        FRANCE,
        {"preserved_tokens": ("<|im_start|>",), "n_predict": 3, "logit_bias": ((1, 50.0),)},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_unbroken_one_wherever_it_was_cut(make_engine: MakeEngine, spark: Model, case: str) -> None:
    prompt, options = CASES[case]
    whole = Player(make_engine(spark, n_slots=1))
    text, end = whole.run(prompt, **options)
    deltas = whole.deltas.get(1, [])
    assert deltas
    for n_deltas in range(1, len(deltas) + 1):
        before = deltas[:n_deltas]
        shown = "".join(delta.text for delta in before)
        other = Player(make_engine(spark, n_slots=1))
        rest, again = other.run(
            prompt,
            emitted=tuple(token for delta in before for token in delta.tokens),
            n_emitted_characters=len(shown),
            n_refused=sum(delta.n_refused for delta in before),
            **options,
        )
        after = other.deltas.get(1, [])
        assert shown + rest == text
        assert _tokens(before) + _tokens(after) == _tokens(deltas)
        assert _logprobs(before) + _logprobs(after) == _logprobs(deltas)
        assert (again.reason, again.stop_text) == (end.reason, end.stop_text)
        assert again.timings.n_output_tokens == end.timings.n_output_tokens
        assert again.timings.n_prompt_tokens == end.timings.n_prompt_tokens


def test_the_draws_that_a_grammar_refused_are_told(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_slots=1))
    player.run(FRANCE, grammar=GRAMMAR, temperature=1.2, seed=9)
    assert 0 < sum(delta.n_refused for delta in player.deltas[1]) <= len(player.tokens(1))
    player.run(FRANCE, temperature=1.2, seed=9)
    assert not any(delta.n_refused for delta in player.deltas[2])


def test_mirostat_starts_over_with_a_seed_that_follows_from_the_first(
    make_engine: MakeEngine, spark: Model
) -> None:
    options: dict[str, Any] = {"mirostat": 2, "temperature": 1.5, "seed": 4, "n_predict": 24}
    text, _ = Player(make_engine(spark, n_slots=1)).run(STORY, **options)
    emitted = tuple(int(token) for token in spark.tokenize("Once upon a time"))
    rests = []
    for n_emitted in (4, 4, 3):
        player = Player(make_engine(spark, n_slots=1))
        rest, end = player.run(STORY, emitted=emitted[:n_emitted], **options)
        assert end.timings.n_output_tokens == 24
        rests.append(rest)
    assert rests[0] == rests[1]
    assert rests[2] not in (rests[0], text)


@pytest.mark.parametrize("context_shift", [False, True])
def test_a_context_that_runs_full_ends_where_it_does_unbroken(
    make_engine: MakeEngine, spark: Model, context_shift: bool
) -> None:
    """With a shift the new worker has not seen what slid out, so that only the numbers are the same."""
    options: dict[str, Any] = {"logit_bias": EOG, "context_shift": context_shift, "n_predict": 90}
    whole = Player(make_engine(spark, n_ctx=64, n_slots=1))
    text, end = whole.run(STORY, **options)
    tokens = whole.tokens(1)
    for n_emitted in range(len(tokens) - 4, len(tokens) + 1):
        other = Player(make_engine(spark, n_ctx=64, n_slots=1))
        rest, again = other.run(STORY, emitted=tokens[:n_emitted], **options)
        assert again.reason == end.reason == "length"
        assert again.timings.n_output_tokens == end.timings.n_output_tokens
        assert n_emitted + len(other.tokens(1)) == len(tokens)
        if not context_shift:
            assert text.endswith(rest)


def test_the_first_delta_tells_what_came_before_it(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark))
    player.run(FRANCE)
    _, end = player.run(FRANCE)
    first, *others = player.deltas[2]
    assert first.begun is not None
    assert all(delta.begun is None for delta in others)
    assert first.begun.n_prompt_tokens == end.timings.n_prompt_tokens
    assert first.begun.n_cached_tokens == end.timings.n_cached_tokens > 0
    assert first.begun.n_output_tokens == 1
    assert first.begun.queue_duration_ns == end.timings.queue_duration_ns
    assert first.begun.prompt_duration_ns == end.timings.prompt_duration_ns


def test_emitted_tokens_count_for_limit_grammar_and_shift(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_ctx=64))
    tokens = tuple(int(token) for token in spark.tokenize("The capital"))
    _, end = player.run(FRANCE, emitted=tokens, n_predict=len(tokens) + 1)
    assert end.timings.n_output_tokens == len(tokens) + 1
    with pytest.raises(BadGrammar):
        player.submit(FRANCE, emitted=tokens, grammar='root ::= "no"')
    _, end = player.run(FRANCE, emitted=(9,) * 150, n_predict=160, logit_bias=EOG)
    assert end.timings.n_output_tokens == 160
    with pytest.raises(ContextFull):
        player.submit(FRANCE, emitted=(9,) * 150, context_shift=False)


def _tokens(deltas: list[TokenDelta]) -> list[int]:
    return [token for delta in deltas for token in delta.tokens]


def _logprobs(deltas: list[TokenDelta]) -> list[tuple[str, float]]:
    return [(item.token, round(item.logprob, 3)) for delta in deltas for item in delta.logprobs]
