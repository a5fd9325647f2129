"""Each call over which llama.cpp would end the process raises a typed error instead."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from server.engine import native
from server.engine.batch import Batch, TokenArray
from server.engine.candidates import Candidates
from server.engine.context import Context, ContextParams
from server.engine.failures import (
    BadGrammar,
    BadRequest,
    DecodeFailed,
    InvalidBatch,
)
from server.engine.grammar import Grammar
from server.engine.logs import LogSink
from server.engine.model import Model
from server.engine.sampler import Sampler
from server.types.generation import SamplingParams

# llama.cpp's parser allocates without end for the first and overflows its stack for the second.
UNENDING = 'root ::= "{9,1}" [{9,1}] "a"{2,1} # {9,1}'
DEEP = "root ::= " + "(" * 100_000

SMALL = ContextParams(n_ctx=256, n_seq_max=2, n_batch=32, n_ubatch=32, n_outputs_max=2, n_threads=1)


@pytest.fixture
def context(spark: Model, log: LogSink) -> Iterator[Context]:
    made = Context(spark, SMALL, log)
    yield made
    made.close()


def ids(*values: int) -> TokenArray:
    return np.array(values, np.int32)


def test_more_tokens_than_the_batch_holds(context: Context) -> None:
    with pytest.raises(InvalidBatch, match="larger than n_batch 32"):
        context.batch.add(0, np.zeros(33, np.int32), 0, output="none")
    context.batch.add(0, np.zeros(32, np.int32), 0, output="none")
    with pytest.raises(InvalidBatch, match="do not fit"):
        context.batch.add_rows([0], [1], [32])


def test_more_outputs_than_were_reserved(context: Context) -> None:
    with pytest.raises(InvalidBatch, match="more than 2"):
        context.batch.add(0, ids(1, 2, 3), 0, output="all")
    with pytest.raises(InvalidBatch, match="do not fit"):
        context.batch.add_rows([0, 1, 0], [1, 1, 1], [0, 0, 1])


def test_a_position_before_the_first(context: Context) -> None:
    with pytest.raises(InvalidBatch, match="negative"):
        context.batch.add(0, ids(1), -1, output="last")
    with pytest.raises(InvalidBatch, match="negative"):
        context.batch.add_rows([0, 1], [1, 1], [0, -1])


def test_a_token_that_the_vocabulary_does_not_have(context: Context, spark: Model) -> None:
    for bad in (-1, spark.n_vocab, 2**31 - 1):
        with pytest.raises(BadRequest, match="vocabulary"):
            context.batch.add(0, ids(bad), 0, output="last")
        with pytest.raises(BadRequest, match="vocabulary"):
            context.batch.add_rows([0], [bad], [0])
        with pytest.raises(BadRequest, match="vocabulary"):
            spark.piece(bad)
        with pytest.raises(BadRequest, match="vocabulary"):
            spark.detokenize(ids(bad))
    assert context.batch.n_tokens == 0


def test_a_sequence_that_the_context_does_not_have(context: Context) -> None:
    for bad in (-1, 2):
        with pytest.raises(InvalidBatch):
            context.batch.add(bad, ids(1), 0, output="last")
        with pytest.raises(InvalidBatch):
            context.batch.add_rows([bad], [1], [0])
        with pytest.raises(InvalidBatch):
            context.remove(bad, 0)
        with pytest.raises(InvalidBatch):
            context.copy_sequence(0, bad)
        with pytest.raises(InvalidBatch):
            context.n_cached(bad)


def test_an_empty_batch(context: Context) -> None:
    with pytest.raises(InvalidBatch, match="empty batch"):
        context.decode()


def test_positions_that_do_not_follow_are_refused_and_nothing_breaks(context: Context) -> None:
    context.batch.add(0, ids(1, 2), 5, output="last")
    context.decode()
    context.batch.clear()
    context.batch.add(0, ids(3), 3, output="last")
    with pytest.raises(InvalidBatch, match="not valid"):
        context.decode()
    context.clear()
    context.batch.clear()
    context.batch.add(0, ids(1, 2), 0, output="last")
    context.decode()
    assert context.logits().shape == (1, context.model.n_vocab)


def test_logits_of_a_batch_that_asked_for_none(context: Context) -> None:
    with pytest.raises(InvalidBatch, match="asked for logits"):
        context.logits()
    context.batch.add(0, ids(1, 2), 0, output="none")
    context.decode()
    with pytest.raises(InvalidBatch, match="asked for logits"):
        context.logits()


def test_logits_after_a_batch_that_failed(context: Context) -> None:
    context.batch.add(0, ids(1, 2), 0, output="last")
    context.decode()
    context.batch.clear()
    context.batch.add(0, ids(1), 9, output="last")
    context.batch.add(0, ids(1), 3, output="none")
    with pytest.raises(InvalidBatch):
        context.decode()
    with pytest.raises(InvalidBatch, match="asked for logits"):
        context.logits()


def test_a_part_of_a_sequence_to_another_stream(context: Context) -> None:
    with pytest.raises(InvalidBatch, match="part of a sequence"):
        context.copy_sequence(0, 1, n_tokens=4)


def test_an_encoder_batch_larger_than_its_ubatch(minilm: Model, log: LogSink) -> None:
    params = ContextParams(
        n_ctx=512,
        n_seq_max=2,
        n_batch=64,
        n_ubatch=32,
        n_outputs_max=0,
        n_threads=1,
        embeddings=True,
        unified=True,
    )
    context = Context(minilm, params, log)
    try:
        n = context.n_ubatch + 1
        if n <= context.n_batch:
            context.batch.add(0, np.full(n, 1000, np.int32), 0, output="all")
            with pytest.raises(InvalidBatch, match="an encoder takes"):
                context.decode()
        else:
            with pytest.raises(InvalidBatch, match="larger than n_batch"):
                context.batch.add(0, np.full(n, 1000, np.int32), 0, output="all")
    finally:
        context.close()


def test_a_chain_that_selects_no_token(spark: Model) -> None:
    candidates = Candidates(spark.n_vocab)
    top_k = native.sampler_init_top_k(5)
    candidates.load(candidates.all_ids, np.zeros(spark.n_vocab, np.float32))
    candidates.apply(top_k)
    with pytest.raises(DecodeFailed, match="selected no token"):
        candidates.selected()
    native.sampler_free(top_k)


def test_a_sampler_that_llama_refuses_never_enters_a_chain(
    spark: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    null = type(native.sampler_init_top_k(1))()
    assert not null and null is not None
    monkeypatch.setattr(native, "sampler_init_top_k", lambda k: null)
    with pytest.raises(BadRequest, match="sampling options"):
        Sampler(spark, SamplingParams(), 256, Candidates(spark.n_vocab))


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": float("nan")},
        {"top_p": float("inf")},
        {"repeat_penalty": 0.0},
        {"repeat_penalty": -1.0},
        {"presence_penalty": float("nan")},
        {"mirostat": 3},
        {"n_top_logprobs": 21},
        {"logit_bias": ((4096, 1.0),)},
        {"logit_bias": ((-1, 1.0),)},
        {"logit_bias": ((1, float("nan")),)},
    ],
)
def test_sampling_options_out_of_range(spark: Model, values: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        Sampler(spark, SamplingParams(**values), 256, Candidates(spark.n_vocab))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 1e30},
        {"temperature": -5.0},
        {"top_k": -7, "top_p": -1.0, "min_p": 3.0},
        {"typical_p": -1.0},
        {"repeat_last_n": 10**9, "repeat_penalty": 1.1},
        {"repeat_last_n": -9, "repeat_penalty": 1.1},
        {"mirostat": 1, "mirostat_tau": -3.0, "mirostat_eta": 50.0},
        {"mirostat": 2, "temperature": 0.0},
        {"seed": 2**63},
        {"logit_bias": ((1, float("-inf")),)},
    ],
)
def test_odd_sampling_options_still_choose_a_token(spark: Model, values: dict[str, object]) -> None:
    sampler = Sampler(spark, SamplingParams(**values), 256, Candidates(spark.n_vocab))  # type: ignore[arg-type]
    row = np.random.default_rng(1).normal(0, 3, spark.n_vocab).astype(np.float32)
    sampler.accept_prompt(ids(*range(100)))
    for _ in range(4):
        token = sampler.sample(row)
        assert 0 <= token < spark.n_vocab
        sampler.accept(token)
    sampler.close()


def test_logits_that_are_not_numbers(spark: Model) -> None:
    row = np.full(spark.n_vocab, np.nan, np.float32)
    for params in (SamplingParams(temperature=0.0), SamplingParams()):
        sampler = Sampler(spark, params, 256, Candidates(spark.n_vocab))
        with pytest.raises(DecodeFailed):
            sampler.sample(row)
        sampler.close()


@pytest.mark.parametrize(
    "gbnf",
    ["", "\n", "roo", 'a ::= "a"', 'root ::= "a', "root ::= b", "root ::= root", "\0", UNENDING, DEEP],
    ids=range(10),
)
def test_a_grammar_that_does_not_parse(spark: Model, gbnf: str) -> None:
    with pytest.raises(BadGrammar):
        Grammar(spark, gbnf, (), Candidates(spark.n_vocab))


@pytest.mark.parametrize(
    "gbnf", ['root ::= "{9,1}" [{9,1}] "a"{1,2} # {9,1}', "root ::= " + "(" * 200 + '"a"' + ")" * 200]
)
def test_a_grammar_that_only_looks_dangerous(spark: Model, gbnf: str) -> None:
    Grammar(spark, gbnf, (), Candidates(spark.n_vocab)).close()


def test_a_token_that_the_grammar_does_not_allow(spark: Model) -> None:
    grammar = Grammar(spark, 'root ::= "yes" | "no"', (), Candidates(spark.n_vocab))
    (token,) = (int(token) for token in spark.tokenize("w")[:1])
    assert not grammar.allows(token)
    with pytest.raises(BadGrammar, match="does not follow"):
        grammar.accept(token)
    grammar.close()


def test_a_trigger_that_looks_like_a_bad_pattern_is_plain_text(spark: Model) -> None:
    grammar = Grammar(spark, 'root ::= "[(*" "x"', ("[(*",), Candidates(spark.n_vocab))
    for token in spark.tokenize("anything [(*"):
        grammar.accept(int(token))
    assert grammar.is_awake
    grammar.close()


def test_a_batch_is_freed_only_once() -> None:
    batch = Batch(n_batch=4, n_seq_max=1, n_outputs_max=1, n_vocab=10)
    batch.close()
    batch.close()
