"""Shortcuts choose what llama.cpp's whole chain chooses, seed for seed; grammars hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from server.engine.candidates import Candidates, Row
from server.engine.failures import BadGrammar
from server.engine.model import Model
from server.engine.sampler import Sampler
from server.types.generation import SamplingParams
from tests.support.whole_chain import WholeChain

N_CTX = 512

OPTIONS: dict[str, dict[str, object]] = {
    "defaults": {},
    "greedy": {"temperature": 0.0},
    "greedy with penalties": {"temperature": 0.0, "repeat_penalty": 1.3, "repeat_last_n": 64},
    "greedy with rewards": {"temperature": 0.0, "repeat_penalty": 0.7, "presence_penalty": -2.0},
    "greedy with biases": {"temperature": 0.0, "logit_bias": ((7, 30.0), (9, -5.0), (11, float("-inf")))},
    "greedy and typical": {"temperature": 0.0, "typical_p": 0.5},
    "hot": {"temperature": 2.5, "top_k": 100, "top_p": 0.99},
    "cold": {"temperature": 0.1},
    "top-k 1": {"top_k": 1},
    "no top-k": {"top_k": 0, "top_p": 0.9},
    "min-p": {"top_k": 0, "top_p": 1.0, "min_p": 0.05},
    "typical": {"typical_p": 0.7},
    "wide top-k": {"top_k": 380, "repeat_penalty": 1.1},
    "penalties": {"repeat_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.3},
    "penalties over all": {"repeat_penalty": 1.1, "repeat_last_n": -1},
    "rewards": {"repeat_penalty": 0.6, "frequency_penalty": -0.5, "top_k": 5},
    "biases": {"top_k": 10, "logit_bias": ((3, 12.0), (5, -3.0), (2047, 9.0), (8, float("-inf")))},
    "mirostat": {"mirostat": 1},
    "mirostat 2": {"mirostat": 2, "mirostat_tau": 3.0, "mirostat_eta": 0.2},
}


def rows(n_vocab: int, n: int, seed: int) -> list[Row]:
    """Rows like a model's: a wide floor and some likely tokens, some of them always the same."""
    rng = np.random.default_rng(seed)
    made: list[Row] = []
    for _ in range(n):
        row = rng.normal(-2.0, 2.5, n_vocab).astype(np.float32)
        row[rng.integers(0, n_vocab, 30)] += np.linspace(4, 12, 30).astype(np.float32)
        row[:8] += 8.0
        made.append(row)
    return made


def whole_chain(model: Model, params: SamplingParams, prompt: list[int], stream: list[Row]) -> list[int]:
    """What llama.cpp's chain over the whole vocabulary chooses, told of every token."""
    chain = WholeChain(model.n_vocab, params, N_CTX)
    for token in prompt:
        chain.accept(token)
    chosen: list[int] = []
    for row in stream:
        chosen.append(chain.sample(row))
        chain.accept(chosen[-1])
    chain.close()
    return chosen


def run(model: Model, params: SamplingParams, prompt: list[int], stream: list[Row]) -> list[int]:
    sampler = Sampler(model, params, N_CTX, Candidates(model.n_vocab))
    sampler.accept_prompt(np.array(prompt, np.int32))
    chosen: list[int] = []
    for row in stream:
        chosen.append(sampler.sample(row))
        sampler.accept(chosen[-1])
    sampler.close()
    return chosen


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("seed", [0, 1, 42])
def test_the_shortcut_equals_the_whole_chain(spark: Model, options: dict[str, object], seed: int) -> None:
    params = SamplingParams(seed=seed, **options)  # type: ignore[arg-type]
    stream = rows(spark.n_vocab, 60, seed)
    prompt = np.random.default_rng(seed).integers(0, 40, 100).tolist()
    assert run(spark, params, prompt, stream) == whole_chain(spark, params, prompt, stream)


DRAWN = {name: options for name, options in OPTIONS.items() if "mirostat" not in options}
"""Those whose state does not depend on the logits of all tokens before."""


@pytest.mark.parametrize("options", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("n_before", [1, 7, 39])
def test_a_sampler_that_takes_over_draws_as_the_first_would(
    spark: Model, options: dict[str, object], n_before: int
) -> None:
    params = SamplingParams(seed=5, **options)  # type: ignore[arg-type]
    stream = rows(spark.n_vocab, 40, 5)
    chosen = run(spark, params, [3, 1, 4], stream)
    other = Sampler(spark, params, N_CTX, Candidates(spark.n_vocab))
    other.accept_prompt(np.array([3, 1, 4], np.int32))
    for token in chosen[:n_before]:
        other.accept(token)
    other.skip_draws(n_before)
    rest: list[int] = []
    for row in stream[n_before:]:
        rest.append(other.sample(row))
        other.accept(rest[-1])
    other.close()
    assert rest == chosen[n_before:]


def test_equal_seeds_repeat_and_minus_one_does_not(spark: Model) -> None:
    stream = rows(spark.n_vocab, 60, 5)
    hot = {"temperature": 3.0, "top_k": 0, "top_p": 1.0}
    fixed = SamplingParams(seed=7, **hot)  # type: ignore[arg-type]
    random = SamplingParams(seed=-1, **hot)  # type: ignore[arg-type]
    assert run(spark, fixed, [], stream) == run(spark, fixed, [], stream)
    assert run(spark, random, [], stream) != run(spark, random, [], stream)


def test_only_a_plain_temperature_of_zero_is_greedy(spark: Model) -> None:
    def is_greedy(**options: object) -> bool:
        sampler = Sampler(spark, SamplingParams(**options), N_CTX, Candidates(spark.n_vocab))  # type: ignore[arg-type]
        sampler.close()
        return sampler.is_greedy

    assert is_greedy(temperature=0.0, top_k=3, top_p=0.1, min_p=0.5)
    assert is_greedy(temperature=0.0, repeat_penalty=1.2, repeat_last_n=0)
    assert not is_greedy()
    assert not is_greedy(temperature=0.0, repeat_penalty=1.2)
    assert not is_greedy(temperature=0.0, logit_bias=((1, 1.0),))
    assert not is_greedy(temperature=0.0, grammar='root ::= "a"')


JSON_GRAMMAR = r"""
root ::= object
object ::= "{" (pair ("," pair)*)? "}"
pair ::= string ":" value
value ::= string | number | object | "true" | "false" | "null"
string ::= "\"" [a-zA-Z0-9 ]{0,8} "\""
number ::= "-"? [1-9] [0-9]{0,3}
"""


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 0.0, "repeat_penalty": 1.2},
        {"temperature": 1.0},
        {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
        {"temperature": 1.5, "repeat_penalty": 1.1, "logit_bias": ((40, 3.0),)},
        {"mirostat": 2},
    ],
    ids=str,
)
def test_random_logits_under_a_grammar_give_a_text_of_the_grammar(
    spark: Model, options: dict[str, object]
) -> None:
    params = SamplingParams(seed=3, grammar=JSON_GRAMMAR, **options)  # type: ignore[arg-type]
    sampler = Sampler(spark, params, N_CTX, Candidates(spark.n_vocab))
    rng = np.random.default_rng(11)
    data = b""
    (brace,) = (int(token) for token in spark.tokenize("}"))
    for step in range(400):
        row = rng.normal(-2.0, 2.5, spark.n_vocab).astype(np.float32)
        row[spark.eos] += 8.0
        row[brace] += 0.05 * step  # so that it comes to an end
        token = sampler.sample(row)
        sampler.accept(token)
        if spark.is_eog(token):
            break
        data += spark.piece(token)
    else:
        pytest.fail("the grammar did not end")
    sampler.close()
    assert isinstance(json.loads(data), dict)


def test_a_grammar_with_a_trigger_sleeps_until_it(spark: Model) -> None:
    params = SamplingParams(
        temperature=0.0,
        grammar='root ::= "<tool_call>" "\\n{" [a-z]+ "}" "</tool_call>"',
        grammar_triggers=("<tool_call>",),
    )
    sampler = Sampler(spark, params, N_CTX, Candidates(spark.n_vocab))
    likely = spark.tokenize("Any thing! <tool_call>")
    for token in likely:
        row = np.zeros(spark.n_vocab, np.float32)
        row[token] = 5.0
        assert sampler.sample(row) == token
        sampler.accept(int(token))
    data = b""
    rng = np.random.default_rng(0)
    for _ in range(60):
        row = rng.normal(0, 1, spark.n_vocab).astype(np.float32)
        row[spark.tokenize("}")[0]] += 2.0
        token = sampler.sample(row)
        sampler.accept(token)
        if spark.is_eog(token):
            break
        data += spark.piece(token)
    sampler.close()
    text = data.decode()
    assert text.startswith("\n{")
    assert text.endswith("}</tool_call>")


def test_a_trigger_may_begin_and_end_inside_of_tokens(spark: Model) -> None:
    params = SamplingParams(
        temperature=0.0, grammar='root ::= "call(" [0-9]+ ")"', grammar_triggers=("call(",)
    )
    for text in ("I call(", "xcall(1", "x call(12", "call(3)"):
        sampler = Sampler(spark, params, N_CTX, Candidates(spark.n_vocab))
        for token in spark.tokenize(text):
            sampler.accept(int(token))
        row = np.zeros(spark.n_vocab, np.float32)
        row[spark.tokenize("!")[0]] = 9.0
        token = sampler.sample(row)
        assert spark.is_eog(token) if text.endswith(")") else spark.piece(token)[:1] in b"0123456789)"
        sampler.close()


def test_text_that_goes_on_against_the_grammar_is_not_chosen(spark: Model) -> None:
    """A token that completes the trigger and continues it wrongly is refused, not a crash."""
    wrong = next(t for t in range(spark.n_vocab) if len(spark.piece(t)) > 3 and spark.piece(t).isalpha())
    trigger = spark.piece(wrong)[:2].decode()
    params = SamplingParams(temperature=0.0, grammar=f'root ::= "{trigger}" "1"', grammar_triggers=(trigger,))
    sampler = Sampler(spark, params, N_CTX, Candidates(spark.n_vocab))
    row = np.zeros(spark.n_vocab, np.float32)
    row[wrong] = 9.0
    assert sampler.sample(row) != wrong
    with pytest.raises(BadGrammar):
        sampler.accept(wrong)
    sampler.close()
