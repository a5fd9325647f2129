"""A pool beside the streams changes nothing but the time: it holds what the streams would hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from server.engine import shared_start
from server.engine.context import Context, ContextParams, Decoded, Rows
from server.engine.logs import LogSink
from server.engine.model import Model
from server.engine.sharing_context import SharingContext
from server.ipc.messages import Finished
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, Player

N_SLOTS = 4
N_CTX = 256
N_SHARED = 100


class Pair:
    """Two contexts of one model, with and without a pool, that are told the same."""

    def __init__(self, model: Model, log: LogSink, n_side_cells: int) -> None:
        params = ContextParams(
            n_ctx=N_CTX, n_seq_max=N_SLOTS, n_batch=256, n_ubatch=256, n_outputs_max=8, n_threads=2
        )
        self.plain = Context(model, params, log)
        self.sharing = SharingContext(model, params, log, n_side_cells=n_side_cells)
        self.both = (self.plain, self.sharing)
        self.tokens: list[list[int]] = [[] for _ in range(N_SLOTS)]
        self.random = np.random.default_rng(11)
        self._n_vocab = model.n_vocab

    def begin_like(self, source: int, target: int, n: int) -> None:
        for context in self.both:
            context.copy_sequence(source, target)
            context.remove(target, n)
        self.tokens[target] = self.tokens[source][:n]

    def cut(self, seq_id: int, n: int) -> None:
        for context in self.both:
            assert context.remove(seq_id, n)
        del self.tokens[seq_id][n:]

    def step(self, rows: dict[int, int]) -> None:
        """Decode so many new tokens of each sequence, and see that both say the same of what comes next."""
        new = {seq_id: self.random.integers(10, self._n_vocab, n).tolist() for seq_id, n in rows.items()}
        logits: list[Rows] = []
        for context in self.both:
            context.batch.clear()
            for seq_id in sorted(new):
                first = len(self.tokens[seq_id])
                context.batch.add(seq_id, np.array(new[seq_id], np.int32), first, output="last")
            assert context.decode() is Decoded.DONE
            logits.append(context.logits().copy())
        for seq_id, tokens in new.items():
            self.tokens[seq_id] += tokens
        for seq_id in range(N_SLOTS):
            assert [context.n_cached(seq_id) for context in self.both] == [len(self.tokens[seq_id])] * 2
        np.testing.assert_allclose(logits[0], logits[1], atol=TOLERANCE, rtol=0)

    @property
    def members(self) -> set[int]:
        return set(self.sharing._members)


TOLERANCE = 0.25
"""Of logits that go up to 25: rows and tiles round differently. A wrong beginning makes 5 and more."""


@pytest.fixture
def pair(spark_f16: Model, log: LogSink, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(shared_start, "MIN_SHARED_TOKENS", 32)
    log.install()
    pair = Pair(spark_f16, log, N_CTX)
    yield pair
    for context in pair.both:
        context.close()


@pytest.fixture
def together(pair: Pair) -> Pair:
    """Four sequences with one beginning, in the pool."""
    pair.step({0: N_SHARED})
    for target in (1, 2, 3):
        pair.begin_like(0, target, N_SHARED)
    pair.step({0: 16, 1: 16, 2: 16, 3: 16})
    assert pair.members == {0, 1, 2, 3}
    return pair


def test_they_are_decoded_together_and_go_back_one_by_one(together: Pair) -> None:
    together.step({0: 1, 1: 1, 2: 1, 3: 1})
    together.step({1: 1, 2: 1})
    assert together.members == {0, 1, 2, 3}
    together.step({3: 1})
    assert 3 not in together.members
    for _ in range(3):
        together.step({3: 1})
    assert together.members == set()
    together.step({0: 2, 1: 2, 2: 2, 3: 2})


def test_who_decodes_beside_them_sends_them_back(together: Pair) -> None:
    together.cut(3, 0)
    together.step({3: 40})
    together.step({0: 1, 1: 1, 2: 1, 3: 1})
    assert not together.members & {0, 1, 2, 3}


def test_a_group_begins_beside_a_sequence_that_decodes(pair: Pair) -> None:
    pair.step({0: N_SHARED, 3: 20})
    for target in (1, 2):
        pair.begin_like(0, target, N_SHARED)
    pair.step({1: 40, 2: 40, 3: 1})
    assert pair.members == set()
    pair.step({0: 1, 1: 1, 2: 1, 3: 1})


def test_the_donor_decodes_on_and_others_join_it(pair: Pair) -> None:
    pair.step({0: N_SHARED})
    for target in (1, 2):
        pair.begin_like(0, target, N_SHARED)
    pair.step({0: 1, 1: 32, 2: 32})
    assert pair.members == {0, 1, 2}
    pair.begin_like(1, 3, N_SHARED + 8)
    pair.step({0: 1, 1: 1, 2: 1, 3: 16})
    assert pair.members == {0, 1, 2, 3}


def test_a_long_prompt_or_a_full_pool_sends_them_back(together: Pair) -> None:
    together.step({0: 70, 1: 1, 2: 1, 3: 1})
    assert together.members == set()


def test_a_pool_that_is_full_is_left(together: Pair) -> None:
    for _ in range(3):
        together.step({0: 10, 1: 10, 2: 10, 3: 10})
    assert together.members == set()


def test_states_go_out_and_in_as_those_of_streams(together: Pair) -> None:
    states = [context.copy_state(1) for context in together.both]
    assert states[0] is not None
    assert states[1] is not None
    assert len(states[0]) == len(states[1]) == together.sharing.state_bytes(1)
    assert states[0][:32].tobytes() == states[1][:32].tobytes()
    together.step({1: 3, 2: 3})
    for context, state in zip(together.both, states, strict=True):
        assert context.restore_state(1, state)
    del together.tokens[1][N_SHARED + 16 :]
    assert together.members == {0, 2, 3}
    together.step({0: 1, 1: 1, 2: 1, 3: 1})


def test_a_context_slides(together: Pair) -> None:
    for context in together.both:
        assert context.shift(2, 4, 30)
    del together.tokens[2][4:34]
    together.step({1: 1, 2: 1})


def test_without_room_for_the_beginning_they_stay_apart(
    spark_f16: Model, log: LogSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_start, "MIN_SHARED_TOKENS", 32)
    pair = Pair(spark_f16, log, 64)
    pair.step({0: N_SHARED})
    pair.begin_like(0, 1, N_SHARED)
    pair.step({0: 32, 1: 32})
    assert pair.sharing._side is None
    for context in pair.both:
        context.close()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_it_holds_what_streams_hold(pair: Pair, seed: int) -> None:
    """Random copies, cuts, states, and steps of a few or many rows."""
    draw = np.random.default_rng(seed)
    n_steps_aside = 0
    for _ in range(50):
        source, target = draw.choice(N_SLOTS, 2, replace=False).tolist()
        what = int(draw.integers(0, 10))
        n = len(pair.tokens[source])
        if what < 5 and n > 64:
            n = int(draw.integers(64, n + 1))
            for one in range(N_SLOTS) if what < 4 else (target,):
                if one != source:
                    pair.begin_like(source, one, n)
        elif what == 5:
            pair.cut(target, int(draw.integers(0, len(pair.tokens[target]) + 1)))
        elif what == 6 and n and all(context.is_settled(source) for context in pair.both):
            for context in pair.both:
                state = context.copy_state(source)
                assert state is not None
                assert context.restore_state(source, state)
        n_rows = [1, 1, 24, 32, 66][int(draw.integers(0, 5))]
        wanted = draw.choice(N_SLOTS, int(draw.integers(1, N_SLOTS + 1)), replace=False).tolist()
        pair.step({seq_id: min(n_rows, 63 if len(wanted) > 3 else 66) for seq_id in wanted})
        n_steps_aside += bool(pair.members)
        for seq_id in range(N_SLOTS):
            if len(pair.tokens[seq_id]) > N_CTX - 66:
                pair.cut(seq_id, int(draw.integers(0, 120)))
    assert n_steps_aside


def test_requests_with_one_beginning_are_answered_as_alone(make_engine: MakeEngine, spark_f16: Model) -> None:
    rules = "<|im_start|>system\n" + "The quick brown fox jumps over the lazy dog. " * 52 + "<|im_end|>\n"
    asked = [
        "Name three cities in France and say which of them lies at the sea, and which at a river",
        "Count from one to ten, then from ten to one, and leave out every number that is even",
        "Say something about the sea, about ships, and about those who live of what they catch",
    ]
    prompts = [f"{rules}<|im_start|>user\n{text}.<|im_end|>\n<|im_start|>assistant\n" for text in asked]
    assert len(spark_f16.tokenize(rules)) >= shared_start.MIN_SHARED_TOKENS
    options = {"n_predict": 24, "logit_bias": EOG}
    alone = Player(make_engine(spark_f16, n_slots=1, n_ctx=1024))
    expected = [alone.run(text, **options)[0] for text in prompts]

    engine = make_engine(spark_f16, n_slots=4, n_ctx=1024, n_side_cells=1024)
    assert isinstance(engine.context, SharingContext)
    player = Player(engine)
    player.run(rules, n_predict=1)
    ids = [player.submit(text, **options) for text in prompts]  # type: ignore[arg-type]
    been_aside: set[int] = set()
    while len(player.ends) < 1 + len(ids):
        player.step()
        been_aside |= set(engine.context._members)
    assert len(been_aside) == 3
    for request_id, text in zip(ids, expected, strict=True):
        end = player.ends[request_id]
        assert isinstance(end, Finished)
        assert end.timings.n_cached_tokens >= shared_start.MIN_SHARED_TOKENS
        assert player.text(request_id)[:60] == text[:60]
    follow_up, end = player.run(prompts[1] + expected[1], **options)
    assert end.timings.n_cached_tokens > len(spark_f16.tokenize(prompts[1]))
    assert follow_up[:40] == alone.run(prompts[1] + expected[1], **options)[0][:40]
