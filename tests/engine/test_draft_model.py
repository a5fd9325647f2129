"""A draft model changes how long an answer takes and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from server.engine.draft_loading import vocabulary_difference
from server.engine.draft_model import Asked, DraftModel
from server.engine.drafter import Drafter
from server.engine.failures import DecodeFailed
from server.engine.inbox import Inbox
from server.engine.loading import Engine, open_engine
from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.ipc.messages import Bye, Finished, Loaded, Shutdown, Submit
from server.types.generation import LoadParams, ModelPaths, SamplingParams
from tests.engine.conftest import MakeEngine
from tests.engine.test_drafting import EqualSteps, chi_square_bound
from tests.engine.test_loop import said_by
from tests.support.engine_worker import MINILM, SPARK_F16
from tests.support.generator_player import EOG, FRANCE, STORY, Player
from tests.support.noisy_model import write_noisy
from tests.support.rare_models import write_gemma3, write_lfm2

BRANCHES = STORY + "Once upon a time, there was a little"
"""Several words follow it about as often."""

NUMBERS = 'root ::= "[" [0-9]+ ("," [0-9]+){8} "]"'


MakeDrafting = Callable[..., Player]


class ModelAlone(Drafter):
    """Finds nothing in the texts, so that all guesses are the draft model's."""

    def _match(self, generation: object, n_max: int) -> None:
        return None


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noisy(SPARK_F16, tmp_path_factory.mktemp("models") / "noisy.gguf", 0.4)


@pytest.fixture
def make_drafting(log: LogSink) -> Iterator[MakeDrafting]:
    """Makes players whose model is helped by the draft model of a file, always."""
    engines: list[Engine] = []

    def make(model: Model, draft: Path, **values: object) -> Player:
        params = LoadParams(**{"n_ctx": 512, "n_slots": 4, "n_gpu_layers": 0, **values})  # type: ignore[arg-type]
        log.install()
        engine = open_engine(model, params, Inbox(-1), log, draft=str(draft))
        engines.append(engine)
        draft_model = engine.drafting.model
        assert draft_model is not None, engine.loaded.draft_refusal
        player = Player(engine)
        generator = player.generator
        draft_model.step_s = lambda n_rows: 1e-6 * n_rows  # type: ignore[method-assign]
        generator._drafter = ModelAlone(
            generator._cache,
            n_ctx=generator._n_ctx,
            n_rows_max=generator._context.n_outputs_max,
            costs=EqualSteps(),
            pool=generator._pool,
            model=draft_model,
        )
        return player

    yield make
    for engine in engines:
        if engine.drafting.model is not None:
            engine.drafting.model.close()
        engine.context.close()


def draft_of(player: Player) -> DraftModel:
    drafter = player.generator._drafter._model
    assert drafter is not None and drafter._model is not None
    return drafter._model


def share(end: Finished) -> float:
    return end.timings.n_accepted_tokens / max(end.timings.n_drafted_tokens, 1)


@pytest.mark.parametrize("prompt", [STORY, FRANCE])
@pytest.mark.parametrize("n_predict", [1, 2, 90])
def test_a_model_is_its_own_best_draft_model(
    make_engine: MakeEngine, make_drafting: MakeDrafting, spark_f16: Model, prompt: str, n_predict: int
) -> None:
    player, plain = make_drafting(spark_f16, SPARK_F16), Player(make_engine(spark_f16))
    text, end = player.run(prompt, n_predict=n_predict, logit_bias=EOG)
    expected, expected_end = plain.run(prompt, n_predict=n_predict, n_draft=0, logit_bias=EOG)
    assert text == expected
    assert player.tokens(1) == plain.tokens(1)
    assert end.timings.n_output_tokens == expected_end.timings.n_output_tokens
    if n_predict > 2:
        assert end.timings.n_accepted_tokens > 60
        assert share(end) > 0.8  # it also proposes the ends that the request forbids


def test_guesses_that_are_often_wrong_change_no_text(
    make_engine: MakeEngine, make_drafting: MakeDrafting, spark_f16: Model, noisy: Path
) -> None:
    player, plain = make_drafting(spark_f16, noisy), Player(make_engine(spark_f16))
    text, end = player.run(STORY, n_predict=200, logit_bias=EOG)
    assert text == plain.run(STORY, n_predict=200, n_draft=0, logit_bias=EOG)[0]
    assert 0.1 < share(end) < 0.9
    assert end.timings.n_accepted_tokens > 20


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.8, "seed": 3, "repeat_penalty": 1.1},
        {"temperature": 1.0, "seed": 4, "top_k": 0, "min_p": 0.05},
        {"grammar": NUMBERS},
        {"logprobs": True, "n_top_logprobs": 2},
        {"n_draft": 2},
    ],
)
def test_options_keep_their_meaning(
    make_engine: MakeEngine,
    make_drafting: MakeDrafting,
    spark_f16: Model,
    noisy: Path,
    options: dict[str, object],
) -> None:
    player, plain = make_drafting(spark_f16, noisy), Player(make_engine(spark_f16))
    text, end = player.run(STORY, n_predict=60, logit_bias=EOG, **options)
    expected, expected_end = plain.run(STORY, n_predict=60, logit_bias=EOG, **{**options, "n_draft": 0})
    assert text == expected
    assert player.tokens(1) == plain.tokens(1)
    assert end.timings.n_drafted_tokens > 0
    assert expected_end.timings.n_drafted_tokens == 0


def test_many_at_once_answer_as_alone(
    make_engine: MakeEngine, make_drafting: MakeDrafting, spark_f16: Model, noisy: Path
) -> None:
    prompts = [STORY, FRANCE, STORY + "Once", FRANCE + "The", "Hello", STORY + "There was"]
    alone = [Player(make_engine(spark_f16)).run(prompt, n_predict=50, n_draft=0)[0] for prompt in prompts]
    player = make_drafting(spark_f16, noisy)
    ids = [player.submit(prompt, n_predict=50) for prompt in prompts]
    while len(player.ends) < len(ids):
        player.step()
    assert [player.text(request_id) for request_id in ids] == alone
    ends = [player.ends[request_id] for request_id in ids]
    assert sum(end.timings.n_accepted_tokens for end in ends if isinstance(end, Finished)) > 20


def test_many_at_once_in_a_pool_answer_as_alone(
    make_engine: MakeEngine, make_drafting: MakeDrafting, spark_f16: Model, noisy: Path
) -> None:
    """The draft model's own pool may be full; then it guesses less."""
    prompts = [STORY, FRANCE, STORY + "Once", FRANCE + "The", "Hello", STORY + "There was"]
    alone = [Player(make_engine(spark_f16)).run(prompt, n_predict=60, n_draft=0)[0] for prompt in prompts]
    player = make_drafting(spark_f16, noisy, n_ctx=256, n_pool_cells=256)
    ids = [player.submit(prompt, n_predict=60) for prompt in prompts]
    while len(player.ends) < len(ids):
        player.step()
    assert [player.text(request_id) for request_id in ids] == alone


def test_the_next_turn_reads_only_what_is_new(
    make_engine: MakeEngine, make_drafting: MakeDrafting, spark_f16: Model, noisy: Path
) -> None:
    player = make_drafting(spark_f16, noisy, n_slots=1)
    text, _ = player.run(STORY, n_predict=80, logit_bias=EOG)
    draft = draft_of(player)
    seen: list[int] = []
    decode = draft.context.decode

    def counted() -> object:
        seen.append(draft.context.batch.n_tokens)
        return decode()

    draft.context.decode = counted  # type: ignore[method-assign,assignment]
    again, end = player.run(STORY + text + " Then", n_predict=40, logit_bias=EOG)
    assert end.timings.n_accepted_tokens > 0
    assert max(seen) < 20
    plain = Player(make_engine(spark_f16))
    assert again == plain.run(STORY + text + " Then", n_predict=40, n_draft=0, logit_bias=EOG)[0]


def test_another_slots_text_is_copied(
    make_drafting: MakeDrafting, make_engine: MakeEngine, spark_f16: Model
) -> None:
    player = make_drafting(spark_f16, SPARK_F16, n_slots=2)
    long = STORY + "Once upon a time there was a girl. " * 12
    first = player.submit(long, n_predict=60, logit_bias=EOG)
    while not player.tokens(first):
        player.step()
    second = player.submit(long, n_predict=30, temperature=0.5, seed=1, logit_bias=EOG)
    copies: list[tuple[int, int]] = []
    draft = draft_of(player)
    copy = draft.context.copy_sequence

    def noted(source: int, target: int) -> None:
        copies.append((source, target))
        copy(source, target)

    draft.context.copy_sequence = noted  # type: ignore[method-assign,assignment]
    while len(player.ends) < 2:
        player.step()
    assert len(copies) == 1
    end = player.ends[second]
    assert isinstance(end, Finished) and end.timings.n_drafted_tokens > 0
    expected = Player(make_engine(spark_f16)).run(long, n_predict=60, n_draft=0, logit_bias=EOG)[0]
    assert player.text(first) == expected


def test_of_texts_that_have_changed_places_one_is_left_out(
    make_drafting: MakeDrafting, spark_f16: Model
) -> None:
    draft = draft_of(make_drafting(spark_f16, SPARK_F16, n_slots=2))
    texts = [np.arange(first, first + 300, dtype=np.int32) for first in (100, 1_000)]
    for slot, text in enumerate(texts):
        while draft.n_missing(slot, text) != 1:
            assert draft.read(slot, text)
    swapped = [Asked(slot, text, n_max=3) for slot, text in enumerate(reversed(texts))]
    assert all(draft.n_missing(one.slot, one.text) == 1 for one in swapped)
    guesses = draft.guess(swapped, lambda *_: True)
    assert [bool(guess.tokens) for guess in guesses] == [True, False]
    again = draft.guess(swapped[:1], lambda *_: True)
    assert again[0].tokens == guesses[0].tokens


def test_a_context_that_slides_is_not_disturbed(make_drafting: MakeDrafting, spark_f16: Model) -> None:
    player = make_drafting(spark_f16, SPARK_F16, n_ctx=256, n_slots=1)
    _, end = player.run(STORY, n_predict=600, logit_bias=EOG)
    assert (end.reason, end.timings.n_output_tokens) == ("length", 600)
    assert end.timings.n_accepted_tokens > 100


def test_what_took_long_once_is_tried_again(make_drafting: MakeDrafting, spark_f16: Model) -> None:
    player = make_drafting(spark_f16, SPARK_F16, n_slots=1)
    draft = draft_of(player)
    del draft.step_s  # it counts what was measured
    draft.size = 0.001
    for n_rows in range(1, 17):
        draft._costs.measured(n_rows, 1.0)
    _, end = player.run(STORY, n_predict=150, logit_bias=EOG)
    assert end.timings.n_drafted_tokens == 0
    _, end = player.run(STORY, n_predict=150, logit_bias=EOG)
    assert end.timings.n_drafted_tokens > 0


def test_a_draft_model_that_fails_costs_no_request(
    make_engine: MakeEngine, make_drafting: MakeDrafting, spark_f16: Model, capfd: pytest.CaptureFixture[str]
) -> None:
    player = make_drafting(spark_f16, SPARK_F16)
    draft = draft_of(player)

    def fails() -> object:
        raise DecodeFailed("llama.cpp failed to run the model (code -3)")

    draft.context.decode = fails  # type: ignore[method-assign,assignment]
    text, end = player.run(STORY, n_predict=40, logit_bias=EOG)
    assert text == Player(make_engine(spark_f16)).run(STORY, n_predict=40, n_draft=0, logit_bias=EOG)[0]
    assert end.timings.n_drafted_tokens == 0
    assert "the draft model is not used any more" in capfd.readouterr().err
    assert draft.failure == "llama.cpp failed to run the model (code -3)"


def test_that_a_draft_model_has_failed_is_told_with_the_memory_that_is_left(
    make_engine: MakeEngine, spark_f16: Model, log: LogSink
) -> None:
    log.buffer_bytes.clear()
    alone = make_engine(spark_f16).loaded
    log.buffer_bytes.clear()
    params = LoadParams(n_ctx=512, n_slots=4, n_gpu_layers=0)
    engine = open_engine(spark_f16, params, Inbox(-1), log, draft=str(SPARK_F16))
    draft = engine.drafting.model
    assert draft is not None and engine.generator is not None
    assert engine.loaded.has_draft_model and engine.loaded.kv_bytes > alone.kv_bytes
    inbox = Inbox(-1)
    failing = SamplingParams(n_predict=20, logit_bias=EOG)
    for message in (
        Submit(request_id=1, prompt=(STORY,), sampling=failing),
        Shutdown(grace_s=60.0),
    ):
        inbox._put(message)

    def fails() -> object:
        raise DecodeFailed("llama.cpp failed")

    draft.context.decode = fails  # type: ignore[method-assign,assignment]
    drafter = engine.generator._drafter._model
    assert drafter is not None
    drafter._with_model = lambda *args: fails()  # type: ignore[method-assign,return-value]
    answers = said_by(engine, inbox)
    told = [answer for answer in answers if isinstance(answer, Loaded)]
    assert [loaded.has_draft_model for loaded in told] == [False]
    assert told[0].draft_refusal == "it has failed: llama.cpp failed"
    assert (told[0].weights_bytes, told[0].kv_bytes) == (alone.weights_bytes, alone.kv_bytes)
    assert [type(answer) for answer in answers[-2:]] == [Finished, Bye]


def test_sampled_answers_keep_their_shares(
    make_engine: MakeEngine, make_drafting: MakeDrafting, spark_f16: Model
) -> None:
    """A chi-square test: other seeds with a draft model and without, the same shares of each answer.

    The draft model guesses the likeliest token, which a sampled answer has now and then.
    """
    options = {"n_predict": 4, "temperature": 0.8, "top_k": 5, "logit_bias": EOG}
    counts: list[dict[str, int]] = [{}, {}]
    n_drafted = n_accepted = 0
    guessing, plain = (
        make_drafting(spark_f16, SPARK_F16, n_slots=1),
        Player(make_engine(spark_f16, n_slots=1)),
    )
    for seed in range(300):
        text, end = guessing.run(BRANCHES, seed=seed, **options)
        n_drafted += end.timings.n_drafted_tokens
        n_accepted += end.timings.n_accepted_tokens
        counts[0][text] = counts[0].get(text, 0) + 1
        text, _ = plain.run(BRANCHES, seed=10_000 + seed, n_draft=0, **options)
        counts[1][text] = counts[1].get(text, 0) + 1
    assert 100 < n_accepted < n_drafted
    common = [text for text in counts[0] | counts[1] if sum(c.get(text, 0) for c in counts) >= 10]
    pairs = [(counts[0].get(text, 0), counts[1].get(text, 0)) for text in common]
    a, b = (300 - sum(pair[side] for pair in pairs) for side in (0, 1))
    pairs.append((a, b))
    statistic = sum((a - b) ** 2 / (a + b) for a, b in pairs if a + b)
    assert len(common) >= 3
    assert statistic < chi_square_bound(len(pairs))


# What is refused.


def refusal(model: Model, log: LogSink, draft: Path) -> str:
    """Why a draft model is not used; the model answers all the same."""
    params = LoadParams(n_ctx=256, n_slots=1, n_gpu_layers=0)
    log.install()
    engine = open_engine(model, params, Inbox(-1), log, draft=str(draft))
    try:
        assert engine.drafting.model is None
        assert not engine.loaded.has_draft_model
        _, end = Player(engine).run("Hello", n_predict=3)
        assert end.timings.n_output_tokens > 0
        return engine.loaded.draft_refusal
    finally:
        engine.context.close()


def test_another_vocabulary_is_refused(
    spark_f16: Model, log: LogSink, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reason = refusal(spark_f16, log, write_gemma3(tmp_path / "windows.gguf"))
    assert reason == "its vocabulary has 300 tokens and the model's 4096"
    assert f"the draft model is not used: {reason}" in capfd.readouterr().err


def test_one_token_that_is_another_one_is_refused(spark_f16: Model, log: LogSink, tmp_path: Path) -> None:
    data = bytearray(SPARK_F16.read_bytes())
    piece = spark_f16.piece(3000)
    text = piece.replace(b" ", "Ġ".encode())
    entry = len(text).to_bytes(8, "little") + text
    assert data.count(entry) == 1
    at = data.index(entry) + 8 + len(text) - 1
    data[at] ^= 1
    path = tmp_path / "other.gguf"
    path.write_bytes(data)
    assert refusal(spark_f16, log, path) == "token 3000 of its vocabulary is another one"


def test_what_is_no_model_that_continues_a_text_is_refused(
    spark_f16: Model, log: LogSink, tmp_path: Path
) -> None:
    assert "continues a text" in refusal(spark_f16, log, MINILM) or "another" in refusal(
        spark_f16, log, MINILM
    )
    assert "cannot forget guesses" in refusal(spark_f16, log, write_lfm2(tmp_path / "hybrid.gguf"))


def test_a_broken_file_is_refused(spark_f16: Model, log: LogSink, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(SPARK_F16.read_bytes()[:100_000])
    assert "cannot be loaded" in refusal(spark_f16, log, path)
    assert "does not exist" in refusal(spark_f16, log, tmp_path / "none.gguf")


def test_a_model_that_cannot_forget_gets_no_draft_model(log: LogSink, tmp_path: Path) -> None:
    path = write_lfm2(tmp_path / "hybrid.gguf")
    model = load_model(
        ModelPaths(model=str(path)), LoadParams(n_ctx=256, n_gpu_layers=0), log, lambda f: True
    )
    try:
        assert "cannot forget guesses" in refusal(model, log, SPARK_F16)
    finally:
        model.close()


def test_a_vocabulary_fits_itself(spark: Model, spark_f16: Model, minilm: Model) -> None:
    assert vocabulary_difference(spark, spark_f16) == ""
    assert vocabulary_difference(spark, minilm) == "its vocabulary is of another kind"


def test_its_memory_is_counted(
    make_drafting: MakeDrafting, make_engine: MakeEngine, spark_f16: Model
) -> None:
    plain = make_engine(spark_f16)
    log = plain.context.log
    log.forget_buffers("model", "KV", "RS", "compute")
    alone = make_engine(spark_f16).loaded
    log.forget_buffers("model", "KV", "RS", "compute")
    player = make_drafting(spark_f16, SPARK_F16)
    assert draft_of(player).context.n_seq_max == 4
    assert log.total_bytes("KV") == 2 * alone.kv_bytes
    assert log.total_bytes("model") >= SPARK_F16.stat().st_size * 0.9
