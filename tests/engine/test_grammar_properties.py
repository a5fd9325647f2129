"""What is chosen under a grammar is what llama-server chooses: drawn again from all that it allows."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.engine import grammar as grammar_module
from server.engine import native
from server.engine.candidates import Candidates, Row
from server.engine.failures import BadGrammar
from server.engine.grammar import Grammar
from server.engine.model import Model
from server.engine.sampler import NEGLIGIBLE_MASS, Sampler
from server.engine.token_tree import trees_of
from server.prompts.grammar import grammar_for
from server.types.generation import SamplingParams
from tests.support.whole_chain import WholeChain

N_CTX = 300
SCHEMA = {
    "type": "object",
    "properties": {
        "naïve": {"type": "string", "maxLength": 6},
        "n": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["red", "größer", "é"]}},
    },
    "required": ["naïve", "n", "tags"],
}
GRAMMARS = {
    "json": grammar_for("json"),
    "schema": grammar_for(SCHEMA),
    "words": 'root ::= ([a-z ]+ "." )+',
    "beyond ASCII": 'root ::= ("ä" | "é" | [а-я] | "\\u20AC" [^а-я])+ "."',
    "one way": 'root ::= "The answer is yes." | "The answer is no."',
}


class WholeGrammar:
    """llama.cpp's grammar, asked about every token; allowed is what shows as UTF-8 text, and the end."""

    def __init__(self, model: Model, gbnf: str) -> None:
        self._model = model
        self._pointer = native.sampler_init_grammar(model.vocab, gbnf.encode(), b"root")
        self._candidates = Candidates(model.n_vocab)
        self._text = b""

    def mask(self) -> npt.NDArray[np.bool_]:
        ids = self._candidates.all_ids
        self._candidates.load(ids, np.zeros(len(ids), np.float32))
        self._candidates.apply(self._pointer)
        mask = self._candidates.allowed(len(ids)).copy()
        for token in np.flatnonzero(mask):
            piece = self._model.piece(int(token))
            is_text = bool(piece) and self._is_beginning_of_text(self._text[-3:] + piece)
            mask[token] = is_text or self._model.is_eog(int(token))
        return mask

    def accept(self, token: int) -> None:
        native.sampler_accept(self._pointer, token)
        self._text += self._model.piece(token)

    @staticmethod
    def _is_beginning_of_text(data: bytes) -> bool:
        """Whether some bytes of a text are cut so that it can go on; it may begin within a character."""
        starts = range(1 + next((n for n, byte in enumerate(data) if byte & 0xC0 != 0x80), 3))
        ends = ("", "\x80", "\x80\x80", "\x80\x80\x80", "\xbf", "\xbf\x80", "\xbf\x80\x80", "\x90\x80\x80")
        for start in starts:
            for end in ends:
                with contextlib.suppress(UnicodeDecodeError):
                    (data[start:] + end.encode("latin-1")).decode()
                    return True
        return False

    def close(self) -> None:
        native.sampler_free(self._pointer)


def walk(model: Model, gbnf: str, seed: int, n: int) -> list[int]:
    """Tokens of a random text of the grammar."""
    grammar, rng = WholeGrammar(model, gbnf), np.random.default_rng(seed)
    tokens: list[int] = []
    for _ in range(n):
        token = int(rng.choice(np.flatnonzero(grammar.mask())))
        if model.is_eog(token):
            break
        grammar.accept(token)
        tokens.append(token)
    grammar.close()
    return tokens


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(list(GRAMMARS)), seed=st.integers(0, 2**31))
def test_the_search_finds_all_that_is_allowed(spark: Model, name: str, seed: int) -> None:
    gbnf = GRAMMARS[name]
    grammar, whole = Grammar(spark, gbnf, (), Candidates(spark.n_vocab)), WholeGrammar(spark, gbnf)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grammar_module, "_N_QUESTIONS", 10**6)
        for token in walk(spark, gbnf, seed, 25):
            found = grammar.all_allowed()
            assert found is not None
            assert np.array_equal(found, np.flatnonzero(whole.mask()))
            grammar.accept(token)
            whole.accept(token)
    grammar.close()
    whole.close()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(list(GRAMMARS)), seed=st.integers(0, 2**31))
def test_what_is_forced_is_all_that_can_come(spark: Model, name: str, seed: int) -> None:
    gbnf = GRAMMARS[name]
    grammar, whole = Grammar(spark, gbnf, (), Candidates(spark.n_vocab)), WholeGrammar(spark, gbnf)
    trees_of(spark).settle()
    for token in walk(spark, gbnf, seed, 25):
        text = b"".join(spark.piece(int(forced)) for forced in grammar.forced(8))
        pieces = [spark.piece(int(allowed)) for allowed in np.flatnonzero(whole.mask())]
        ascii_pieces = [piece for piece in pieces if piece[:1] < b"\x80"]
        if text:
            assert all(piece and piece.startswith(text[: len(piece)]) for piece in ascii_pieces)
        elif ascii_pieces == pieces:
            assert len({piece[:1] for piece in pieces}) != 1 or b"" in pieces
        grammar.accept(token)
        whole.accept(token)
    grammar.close()
    whole.close()


@pytest.mark.parametrize("rule", ["<[70]>", "[a-c]+ !<[3]>", '"<" <|eot|>'])
def test_a_grammar_that_speaks_of_tokens_is_refused(spark: Model, rule: str) -> None:
    """llama.cpp allows a token there and ends the process when the token is accepted."""
    with pytest.raises(BadGrammar, match="tokens"):
        Grammar(spark, f"root ::= {rule}", (), Candidates(spark.n_vocab))


OPTIONS = st.one_of(
    st.fixed_dictionaries({"temperature": st.just(0.0), "repeat_penalty": st.sampled_from([1.0, 1.2])}),
    st.fixed_dictionaries(
        {
            "temperature": st.floats(0.1, 3),
            "top_k": st.sampled_from([1, 40, 200, 700]),
            "top_p": st.sampled_from([0.5, 0.9, 1.0]),
            "min_p": st.sampled_from([0.0, 0.05]),
            "presence_penalty": st.sampled_from([0.0, 0.5, -0.5]),
            "logit_bias": st.sampled_from([(), ((40, 6.0), (41, -6.0))]),
        }
    ),
    st.fixed_dictionaries(
        {
            "temperature": st.floats(0.1, 3),
            "top_k": st.just(0),
            "top_p": st.floats(0.05, 0.99),
            "min_p": st.sampled_from([0.0, 0.05]),
        }
    ),
    st.fixed_dictionaries({"top_k": st.just(0), "top_p": st.just(1.0), "min_p": st.floats(0.001, 1)}),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    options=OPTIONS,
    name=st.sampled_from(list(GRAMMARS)),
    seed=st.integers(0, 2**31),
    equals=st.booleans(),
)
def test_what_is_chosen_is_what_llama_server_chooses(
    spark: Model, options: dict[str, Any], name: str, seed: int, equals: bool
) -> None:
    gbnf = GRAMMARS[name]
    params = SamplingParams(seed=seed, grammar=gbnf, **options)
    sampler = Sampler(spark, params, N_CTX, Candidates(spark.n_vocab))
    chain, grammar = WholeChain(spark.n_vocab, params, N_CTX), WholeGrammar(spark, gbnf)
    for row in rows(spark, seed, equals=equals):
        expected, mask = chain.sample(row), grammar.mask()
        if not mask[expected]:
            expected = chain.sample(row, mask)
        assert sampler.sample(row) == expected
        sampler.accept(expected)
        if spark.is_eog(expected):
            break
        chain.accept(expected)
        grammar.accept(expected)
    sampler.close()
    chain.close()
    grammar.close()


def rows(model: Model, seed: int, *, equals: bool) -> list[Row]:
    rng = np.random.default_rng(seed)
    made: list[Row] = []
    for _ in range(20):
        row = rng.normal(0.0, 3.0, model.n_vocab).astype(np.float32)
        row[model.eos] -= 4.0
        made.append(np.round(row) if equals else row)
    return made


@pytest.mark.parametrize("name", ["json", "words"])
def test_what_a_hot_choice_leaves_out_has_no_more_than_the_stated_mass(
    monkeypatch: pytest.MonkeyPatch, spark: Model, name: str
) -> None:
    """Without top-k, top-p and min-p, and with too many tokens allowed to find them all."""
    gbnf = GRAMMARS[name]
    monkeypatch.setattr(Grammar, "all_allowed", lambda self: None)
    params = SamplingParams(seed=5, temperature=1.2, top_k=0, top_p=1.0, grammar=gbnf)
    sampler = Sampler(spark, params, N_CTX, Candidates(spark.n_vocab))
    grammar = WholeGrammar(spark, gbnf)
    given_to_chain: list[int] = []
    choose = sampler._choose

    def recorded(ids: npt.NDArray[np.int32], logits: Row, **options: Any) -> int:
        given_to_chain[:] = ids.tolist()
        return choose(ids, logits, **options)

    monkeypatch.setattr(sampler, "_choose", recorded)
    n_partial = 0
    for row in rows(spark, 9, equals=False):
        row *= 4.0
        mask = grammar.mask()
        token = sampler.sample(row)
        if len(given_to_chain) < spark.n_vocab:
            weights = np.where(mask, np.exp((row - row.max()).astype(np.float64) / 1.2), 0.0)
            assert weights[given_to_chain].sum() >= (1.0 - NEGLIGIBLE_MASS) * weights.sum()
            n_partial += len(given_to_chain) < mask.sum()
        if spark.is_eog(token):
            break
        sampler.accept(token)
        grammar.accept(token)
    assert n_partial
    sampler.close()
    grammar.close()


def test_control_tokens_are_no_text_of_an_answer(spark: Model) -> None:
    """llama.cpp reads their names as text; the answer would lack it."""
    control = next(t for t in range(spark.n_vocab) if spark.is_control(t) and not spark.is_eog(t))
    gbnf = 'root ::= "a" [^~]+ "~"'
    hidden = Grammar(spark, gbnf, (), Candidates(spark.n_vocab))
    shown = Grammar(spark, gbnf, (), Candidates(spark.n_vocab), (control,))
    (letter,) = (int(token) for token in spark.tokenize("a"))
    for grammar in (hidden, shown):
        grammar.accept(letter)
    assert not hidden.allows(control)
    assert shown.allows(control)
    found = shown.all_allowed()
    assert found is None or control in found
    hidden.close()
    shown.close()
