"""Generation on real models, step by step, without a process around it."""

from __future__ import annotations

import pytest

from server.engine.failures import ContextFull
from server.engine.model import Model
from server.ipc.messages import Finished
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, STORY, Player


@pytest.fixture
def player(make_engine: MakeEngine, spark: Model) -> Player:
    return Player(make_engine(spark))


def test_f16_and_q8_answer_alike(make_engine: MakeEngine, spark: Model, spark_f16: Model) -> None:
    for model in (spark, spark_f16):
        assert Player(make_engine(model)).run(FRANCE)[0] == "The capital of France is Paris."


@pytest.mark.parametrize(
    ("kv_cache_type", "flash_attention"),
    [("f16", None), ("f16", True), ("f16", False), ("q8_0", None), ("q8_0", True), ("q4_0", None)],
)
def test_every_kind_of_cache_answers(
    make_engine: MakeEngine, spark: Model, flash_attention: bool | None, kv_cache_type: str
) -> None:
    engine = make_engine(spark, kv_cache_type=kv_cache_type, flash_attention=flash_attention)
    text, _ = Player(engine).run(FRANCE)
    assert text.startswith("The capital of")


def test_requests_at_once_answer_as_alone(make_engine: MakeEngine, spark: Model) -> None:
    questions = [f"Count from {n} to {n + 9}." for n in range(6)]
    prompts = [f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n" for question in questions]
    alone = [Player(make_engine(spark, n_slots=1)).run(prompt)[0] for prompt in prompts]
    player = Player(make_engine(spark, n_slots=4))
    ids = [player.submit(prompt) for prompt in prompts]
    while len(player.ends) < len(ids):
        player.step()
    assert [player.text(request_id) for request_id in ids] == alone


def test_tokens_of_the_deltas_are_the_answer(player: Player, spark: Model) -> None:
    text, end = player.run(FRANCE)
    tokens = player.tokens(1)
    assert b"".join(spark.piece(token) for token in tokens).decode() == text
    assert end.timings.n_output_tokens == len(tokens) + 1
    assert end.timings.n_prompt_tokens == len(spark.tokenize(FRANCE))


def test_pieces_and_token_runs_make_one_prompt(player: Player, spark: Model) -> None:
    tokens = tuple(int(token) for token in spark.tokenize(FRANCE))
    assert player.run(tokens)[0] == "The capital of France is Paris."
    cut = FRANCE.index("What")
    head = tuple(int(token) for token in spark.tokenize(FRANCE[:cut]))
    assert player.run(head, FRANCE[cut:])[0] == "The capital of France is Paris."


def test_an_empty_prompt_starts_from_bos(player: Player) -> None:
    _, end = player.run("", n_predict=3)
    assert end.timings.n_prompt_tokens == 1


@pytest.mark.parametrize("n_predict", [0, 1, 5])
def test_the_number_of_tokens_is_bounded(player: Player, n_predict: int) -> None:
    text, end = player.run(STORY, n_predict=n_predict)
    assert end.reason == "length"
    assert end.timings.n_output_tokens == len(player.tokens(1)) == n_predict
    assert bool(text) == (n_predict > 0)


def test_the_end_can_be_ignored(player: Player, spark: Model) -> None:
    text, end = player.run(FRANCE, n_predict=30, ignore_eos=True)
    assert (end.reason, end.timings.n_output_tokens) == ("length", 30)
    assert text.startswith("The capital of France is Paris.")
    assert not set(player.tokens(1)) & set(spark.ends().tolist())
    assert spark.eos in spark.ends()


def test_a_stop_text_ends_and_is_not_shown(player: Player) -> None:
    text, end = player.run(FRANCE, stop=("France is", "never"))
    assert (text, end.reason, end.stop_text) == ("The capital of ", "stop", "France is")
    text, end = player.run(FRANCE, stop=(" is P",))
    assert text == "The capital of France"


def test_a_stop_text_that_names_a_control_token_ends(player: Player, spark: Model) -> None:
    text, end = player.run(FRANCE, stop=("<|im_start|>",), logit_bias=(*EOG, (1, 100.0)))
    assert (text, end.reason, end.stop_text) == ("", "stop", "<|im_start|>")


def test_control_tokens_are_shown_only_when_asked_for(player: Player) -> None:
    forced = {"logit_bias": (*EOG, (1, 100.0)), "n_predict": 2}
    assert player.run(FRANCE, **forced)[0] == ""
    assert player.run(FRANCE, **forced, preserved_tokens=("<|im_start|>",))[0] == "<|im_start|>" * 2


def test_tokens_that_the_user_defined_are_shown(player: Player, spark: Model) -> None:
    (think,) = (int(token) for token in spark.tokenize("<think>"))
    assert player.run(FRANCE, logit_bias=((think, 100.0),), n_predict=1)[0] == "<think>"


# Context.


def test_the_context_is_the_requested_one(make_engine: MakeEngine, spark: Model) -> None:
    engine = make_engine(spark, n_ctx=128)
    assert engine.loaded.n_ctx == 128
    assert engine.context.n_ctx >= 128
    assert make_engine(spark, n_ctx=9999).loaded.n_ctx == spark.n_ctx_train


def test_a_prompt_must_be_shorter_than_the_context(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_ctx=64))
    player.run((5,) * 63, n_predict=1)
    with pytest.raises(ContextFull) as caught:
        player.submit((5,) * 64)
    assert (caught.value.n_prompt_tokens, caught.value.n_ctx) == (64, 64)


def test_without_a_shift_a_full_context_ends_with_length(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_ctx=64))
    _, end = player.run(STORY, context_shift=False, logit_bias=EOG)
    assert end.reason == "length"
    assert end.timings.n_prompt_tokens + end.timings.n_output_tokens == 65


def test_a_full_context_slides_and_keeps_its_beginning(make_engine: MakeEngine, spark: Model) -> None:
    engine = make_engine(spark, n_ctx=64, n_slots=1)
    player = Player(engine)
    _, end = player.run(STORY, logit_bias=EOG, n_predict=120, n_keep=5)
    assert end.timings.n_output_tokens == 120
    assert end.reason == "length"
    cache = player.generator._cache
    assert cache.tokens(0)[:5].tolist() == spark.tokenize(STORY)[:5].tolist()
    assert cache.length(0) == engine.context.n_cached(0) < 64


def test_an_unbounded_generation_ends_after_ten_contexts(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_ctx=16))
    _, end = player.run("Hi", logit_bias=EOG)
    assert (end.reason, end.timings.n_output_tokens) == ("length", 160)


@pytest.mark.parametrize("n_keep", [-1, 1000])
def test_at_most_the_context_less_four_tokens_are_kept(
    make_engine: MakeEngine, spark: Model, n_keep: int
) -> None:
    player = Player(make_engine(spark, n_ctx=32, n_slots=1))
    _, end = player.run(STORY, logit_bias=EOG, n_keep=n_keep, n_predict=60)
    assert (end.reason, end.timings.n_output_tokens) == ("length", 60)
    prompt = spark.tokenize(STORY).tolist()
    assert player.generator._cache.tokens(0)[: len(prompt)].tolist() == prompt


# Memory of earlier requests.


def test_a_second_turn_decodes_only_what_is_new(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark))
    answer, first = player.run(FRANCE)
    assert first.timings.n_cached_tokens == 0
    more = FRANCE + answer + "<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n"
    text, second = player.run(more)
    assert text.startswith("I am Spark")
    assert second.timings.n_cached_tokens == len(spark.tokenize(FRANCE + answer))
    fresh, _ = Player(make_engine(spark)).run(more)
    assert text == fresh


def test_a_running_request_lends_its_long_beginning(make_engine: MakeEngine, spark_f16: Model) -> None:
    system = "<|im_start|>system\n" + "You are a helpful model. " * 40 + "<|im_end|>\n"
    player = Player(make_engine(spark_f16, n_slots=3, n_batch=128))
    ids = [player.submit(system + FRANCE, n_predict=8), player.submit(system + STORY, n_predict=8)]
    while len(player.ends) < 2:
        player.step()
    third = player.submit(system + FRANCE, n_predict=8)
    while third not in player.ends:
        player.step()
    n_shared = len(spark_f16.tokenize(system))
    cached = [player.ends[i].timings.n_cached_tokens for i in (*ids, third)]  # type: ignore[union-attr]
    assert sorted(cached)[0] == 0
    assert cached[2] >= n_shared
    assert max(cached[:2]) >= 64
    alone, _ = Player(make_engine(spark_f16, n_slots=1)).run(system + STORY, n_predict=8)
    assert player.text(ids[1]) == alone


def test_an_aborted_prompt_leaves_a_sound_memory(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_slots=1, n_batch=32))
    request_id = player.submit((7,) * 300)
    player.step()
    (message,) = player.generator.abort(request_id)
    assert isinstance(message, Finished)
    assert message.reason == "cancelled"
    assert player.generator.is_idle
    assert player.run(FRANCE)[0] == "The capital of France is Paris."


def test_a_step_that_was_aborted_leaves_a_sound_memory(
    make_engine: MakeEngine, spark: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The abort flag is set before the step, as a reader thread would during it."""
    engine = make_engine(spark, n_slots=1)
    player = Player(engine)
    request_id = player.submit((7,) * 400)
    with monkeypatch.context() as patch:
        patch.setattr(engine.context, "reset_abort", engine.context.abort_step)
        player.step()
    assert player.deltas == {}
    player.generator.abort(request_id)
    assert player.run(FRANCE)[0] == "The capital of France is Paris."
