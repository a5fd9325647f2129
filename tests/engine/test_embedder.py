"""Vectors against the unquantised model's, alone and in shared batches."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest

from server.engine import embedder as embedder_module
from server.engine.context import Context, Decoded
from server.engine.embed_inputs import TOO_LONG, TOO_LONG_CUT, InputReader
from server.engine.embed_loading import CPU_BATCH_TOKENS
from server.engine.embed_queue import OLDEST_SHARE
from server.engine.embed_runner import EmbedRunner
from server.engine.embedder import Embedder, normalised
from server.engine.failures import BadRequest, ContextFull, DecodeFailed, EngineBusy, NoMemory
from server.engine.inbox import Inbox
from server.engine.loading import Engine, open_engine
from server.engine.logs import LogSink
from server.engine.model import Model
from server.ipc.messages import Abort, Embed, Embeddings, Failed, Finished, FromEngine, Step
from server.types.generation import LoadParams
from tests.engine.conftest import MakeEngine
from tests.support.engine_worker import MINILM

REFERENCE = json.loads(MINILM.with_suffix(".reference.json").read_text())
TEXTS = tuple(REFERENCE)

SAME = 0.9999
"""Cosine of one input in batches of different sizes, at least."""


def embedder_of(engine: Engine) -> Embedder:
    assert engine.embedder is not None
    return engine.embedder


def vector(data: bytes) -> npt.NDArray[np.float32]:
    return np.frombuffer(data, "<f4")


def run(embedder: Embedder, *inputs: str | tuple[int, ...], truncate: bool = True) -> Embeddings:
    messages: list[FromEngine] = embedder.embed(Embed(request_id=1, inputs=inputs, truncate=truncate))
    while not any(isinstance(message, Embeddings | Failed) for message in messages):
        messages = embedder.step()
    (answer,) = [message for message in messages if not isinstance(message, Step)]
    assert isinstance(answer, Embeddings), answer
    assert embedder.is_idle
    return answer


@pytest.fixture
def embedder(make_engine: MakeEngine, minilm: Model) -> Embedder:
    return embedder_of(make_engine(minilm, embedding=True))


def test_vectors_are_those_of_the_unquantised_model(embedder: Embedder) -> None:
    answer = run(embedder, *TEXTS)
    assert answer.n_tokens == tuple(REFERENCE[text]["tokens"] for text in TEXTS)
    for text, data in zip(TEXTS, answer.vectors, strict=True):
        found = vector(data)
        assert abs(float(np.linalg.norm(found)) - 1.0) < 1e-5
        assert float(found @ np.array(REFERENCE[text]["vector"], np.float32)) >= 0.999, text


def mixed_inputs(n: int) -> tuple[tuple[int, ...], ...]:
    """Inputs of 1 to 40 words, as ids of minilm's vocabulary between those of [CLS] and [SEP]."""
    rng = np.random.default_rng(n)
    return tuple(
        (101, *map(int, rng.integers(1000, 20000, n_words)), 102) for n_words in rng.integers(1, 40, n)
    )


@pytest.fixture(scope="module")
def alone(log: LogSink, minilm: Model) -> Iterator[dict[tuple[int, ...], npt.NDArray[np.float32]]]:
    """The vectors of 256 inputs that ran one by one."""
    engine = open_engine(minilm, LoadParams(n_ctx=512, n_gpu_layers=0, embedding=True), Inbox(-1), log)
    embedder = embedder_of(engine)
    yield {item: vector(run(embedder, item).vectors[0]) for item in mixed_inputs(256)}
    engine.context.close()


@pytest.mark.parametrize("n", [1, 2, 7, 40, 256])
def test_a_batch_gives_what_single_inputs_give(
    embedder: Embedder, alone: dict[tuple[int, ...], npt.NDArray[np.float32]], n: int
) -> None:
    inputs = tuple(alone)[:n]
    together = run(embedder, *inputs)
    cosines = [float(alone[item] @ vector(data)) for item, data in zip(inputs, together.vectors, strict=True)]
    assert min(cosines) >= SAME
    # Not only nearly: an input's sums are added up in the same order wherever it stands.
    assert min(cosines) >= 0.999999


def test_known_texts_in_a_batch_give_what_they_give_alone(embedder: Embedder) -> None:
    together = run(embedder, *TEXTS)
    for text, data in zip(TEXTS, together.vectors, strict=True):
        (found,) = run(embedder, text).vectors
        assert float(vector(found) @ vector(data)) >= SAME


def test_inputs_of_a_batch_do_not_touch_each_other(embedder: Embedder) -> None:
    alone = vector(run(embedder, "The sky is blue").vectors[0])
    for other in ("The sky is green", "one two three four", "why not"):
        beside = vector(run(embedder, "The sky is blue", other).vectors[0])
        assert float(alone @ beside) >= 0.999999


def test_inputs_of_several_requests_share_batches(embedder: Embedder) -> None:
    for request_id in range(1, 6):
        assert embedder.embed(Embed(request_id=request_id, inputs=("why", "The sky is blue"))) == []
    messages = embedder.step()
    answers = [message for message in messages if isinstance(message, Embeddings)]
    assert sorted(answer.request_id for answer in answers) == [1, 2, 3, 4, 5]
    assert len({answer.vectors for answer in answers}) >= 1
    for answer in answers:
        assert float(vector(answer.vectors[0]) @ vector(answers[0].vectors[0])) >= 0.9999


def test_a_long_input_waits_for_short_ones_but_not_for_ever(embedder: Embedder) -> None:
    embedder.embed(Embed(request_id=0, inputs=("word " * 300,)))
    n_steps, request_id = 0, 0
    ended: list[int] = []
    while 0 not in ended:
        for _ in range(40):
            request_id += 1
            embedder.embed(Embed(request_id=request_id, inputs=("why",)))
        ended = [message.request_id for message in embedder.step() if isinstance(message, Embeddings)]
        n_steps += 1
    assert 2 <= n_steps <= 2 + 302 / (OLDEST_SHARE * CPU_BATCH_TOKENS)
    embedder.abort_all()


def test_without_memory_for_a_second_context_batches_run_one_after_the_other(
    make_engine: MakeEngine, minilm: Model
) -> None:
    context = make_engine(minilm, embedding=True).context
    n_tries = 0

    def refuse() -> Context:
        nonlocal n_tries
        n_tries += 1
        raise NoMemory("there is not enough memory for the model's context")

    runner = EmbedRunner(context, Inbox(-1), n_threads=2, open_second=refuse)
    reader = InputReader(minilm, 256)
    embedder = Embedder(runner, reader, n_batch_tokens=CPU_BATCH_TOKENS, n_split_tokens=None)
    assert runner.n_parallel == 2
    answer = run(embedder, *(f"number {n}" for n in range(100)))
    assert len(answer.vectors) == 100
    assert (n_tries, runner.n_parallel) == (1, 1)
    embedder.close()


def test_more_inputs_than_a_batch_holds(embedder: Embedder) -> None:
    texts = tuple(f"number {n}" for n in range(150))
    answer = run(embedder, *texts)
    for index in (0, 77, 149):
        (alone,) = run(embedder, texts[index]).vectors
        assert float(vector(alone) @ vector(answer.vectors[index])) >= SAME


def test_token_ids_are_taken_as_they_are(embedder: Embedder, minilm: Model) -> None:
    tokens = tuple(int(token) for token in minilm.tokenize("The sky is blue", add_special=True))
    by_ids, by_text = run(embedder, tokens), run(embedder, "The sky is blue")
    assert by_ids.n_tokens == by_text.n_tokens
    assert float(vector(by_ids.vectors[0]) @ vector(by_text.vectors[0])) >= 0.9999


def test_a_long_input_is_cut_and_keeps_its_ends(make_engine: MakeEngine, minilm: Model) -> None:
    short = embedder_of(make_engine(minilm, embedding=True, n_ctx=3))
    cut = run(short, "why is the sky blue?")
    assert cut.n_tokens == (3,)
    (why,) = run(short, "why").vectors
    assert float(vector(cut.vectors[0]) @ vector(why)) >= 0.9999


def test_an_input_as_long_as_the_training_context_fits(make_engine: MakeEngine, minilm: Model) -> None:
    engine = make_engine(minilm, embedding=True, n_ctx=8192)
    assert engine.loaded.n_ctx == minilm.n_ctx_train == 512
    assert run(embedder_of(engine), "word " * 2000).n_tokens == (512,)


def test_a_long_input_is_refused_when_it_may_not_be_cut(make_engine: MakeEngine, minilm: Model) -> None:
    embedder = embedder_of(make_engine(minilm, embedding=True, n_ctx=5))
    assert run(embedder, "why not me", truncate=False).n_tokens == (5,)
    with pytest.raises(ContextFull, match=TOO_LONG) as caught:
        run(embedder, "fine", "why not me too", truncate=False)
    assert (caught.value.n_prompt_tokens, caught.value.n_ctx) == (6, 5)
    assert embedder.is_idle


@pytest.mark.parametrize("n_ctx", [1, 2])
def test_a_context_without_room_for_a_word_is_refused(
    make_engine: MakeEngine, minilm: Model, n_ctx: int
) -> None:
    with pytest.raises(ContextFull, match=TOO_LONG_CUT):
        run(embedder_of(make_engine(minilm, embedding=True, n_ctx=n_ctx)), "why")


def test_no_inputs_are_answered_at_once(embedder: Embedder) -> None:
    assert run(embedder).vectors == ()


def test_an_empty_text_has_a_vector_and_empty_ids_have_none(embedder: Embedder) -> None:
    assert run(embedder, "").n_tokens == (2,)
    with pytest.raises(BadRequest, match="empty"):
        run(embedder, ())
    with pytest.raises(BadRequest, match="vocabulary"):
        run(embedder, (10**9,))


def test_an_abort_drops_the_inputs_that_wait(embedder: Embedder) -> None:
    embedder.embed(Embed(request_id=1, inputs=("word " * 200,) * 9))
    embedder.step()
    embedder.embed(Embed(request_id=2, inputs=("why",)))
    (ended,) = embedder.abort(1)
    assert isinstance(ended, Finished)
    assert ended.reason == "cancelled"
    assert embedder.abort(1) == []
    answers = [message for message in embedder.step() if isinstance(message, Embeddings)]
    assert [answer.request_id for answer in answers] == [2]
    assert embedder.is_idle


def test_a_failed_batch_fails_its_requests_only(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder.embed(Embed(request_id=1, inputs=("word " * 400,)))
    embedder.embed(Embed(request_id=2, inputs=("word " * 500,)))

    decode = Context.decode

    def fail(context: Context) -> Decoded:
        if context is embedder._runner.context:
            raise DecodeFailed("broken")
        return decode(context)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "decode", fail)
        messages = embedder.step()
    while not embedder.is_idle:
        messages += embedder.step()
    assert [message.request_id for message in messages if isinstance(message, Failed)] == [1]
    assert [message.request_id for message in messages if isinstance(message, Embeddings)] == [2]


def test_a_batch_that_nobody_wants_any_more_is_given_up(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder.embed(Embed(request_id=1, inputs=("word " * 400, "word")))
    with monkeypatch.context() as patch:
        patch.setattr(Context, "decode", lambda context: Decoded.ABORTED)
        assert [type(message) for message in embedder.step()] == [Step]
    assert not embedder.is_idle
    (ended,) = embedder.abort(1)
    assert isinstance(ended, Finished)
    assert embedder.is_idle
    (again,) = run(embedder, "why").vectors
    assert abs(float(np.linalg.norm(vector(again))) - 1.0) < 1e-5


def test_the_running_batch_can_be_aborted_from_another_thread(
    make_engine: MakeEngine, minilm: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(minilm, embedding=True)
    embedder = embedder_of(engine)
    decode = Context.decode

    def decode_late(context: Context) -> Decoded:
        inbox._put(Abort(1))  # what the inbox's thread does when it reads the message
        return decode(context)

    inbox = embedder._runner._inbox
    embedder.embed(Embed(request_id=1, inputs=("word " * 400,)))
    with monkeypatch.context() as patch:
        patch.setattr(Context, "decode", decode_late)
        assert [type(message) for message in embedder.step()] == [Step]
    assert not embedder.is_idle
    assert embedder.abort(1)
    assert run(embedder, "word").n_tokens == (3,)


def test_requests_wait_in_bounded_memory(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder_module, "MAX_QUEUED_BYTES", 10_000)
    embedder.embed(Embed(request_id=1, inputs=("word " * 3000,)))  # a single one may be larger
    with pytest.raises(EngineBusy, match="later"):
        embedder.embed(Embed(request_id=2, inputs=("word",)))
    embedder.abort(1)
    embedder.embed(Embed(request_id=2, inputs=("word",)))
    embedder.embed(Embed(request_id=3, inputs=("word",)))
    embedder.abort_all()
    assert embedder._n_queued_bytes == 0


def test_more_inputs_than_an_answer_can_carry_are_refused(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_module, "MAX_FRAME_BYTES", 10 * (4 * 384 + 32))
    assert len(run(embedder, *["a"] * 10).vectors) == 10
    with pytest.raises(BadRequest, match="at most 10 inputs"):
        embedder.embed(Embed(request_id=1, inputs=("a",) * 11))


@pytest.mark.parametrize("n_ctx", [7, 100, 300, 511])
def test_any_context_length_works(make_engine: MakeEngine, minilm: Model, n_ctx: int) -> None:
    embedder = embedder_of(make_engine(minilm, embedding=True, n_ctx=n_ctx))
    assert run(embedder, "word " * 600, "why").n_tokens == (n_ctx, 3)


def test_a_generating_model_embeds_by_the_mean_of_its_tokens(make_engine: MakeEngine, spark: Model) -> None:
    embedder = embedder_of(make_engine(spark, embedding=True))
    answer = run(embedder, "The cat sat.", "The cat sat!", "12 + 34 = 46", "The cat sat.")
    cat, cats, sums, again = map(vector, answer.vectors)
    assert float(cat @ again) >= 0.9999
    assert float(cat @ cats) > float(cat @ sums)
    (alone,) = run(embedder, "12 + 34 = 46").vectors
    assert float(vector(alone) @ sums) >= 0.999


def test_vectors_that_are_not_numbers_are_refused_and_zero_stays_zero() -> None:
    with pytest.raises(DecodeFailed):
        normalised(np.array([[1.0, 2.0], [1.0, np.nan]], np.float32))
    assert normalised(np.zeros((1, 2), np.float32)) == [bytes(8)]
