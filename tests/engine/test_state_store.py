"""Conversations that have lost their slot go on as if they had not, on real models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from server.engine.host_cache import SavedState
from server.engine.kv_cache import Placement, Stored
from server.engine.model import Model
from server.engine.state_file import StateWriter, read_state
from server.types.generation import StateCacheParams
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, STORY, Player
from tests.support.states import MIB, TOPICS, both, conversation, files, in_memory, on_disk, parts


@pytest.fixture
def cold(make_engine: MakeEngine, spark_f16: Model) -> Callable[[str], str]:
    """What a prompt is answered with when nothing is in memory."""

    answers: dict[str, str] = {}

    def run(prompt: str) -> str:
        if prompt not in answers:
            player = Player(make_engine(spark_f16, n_slots=1, n_ctx=1024))
            answers[prompt], _ = player.run(prompt, n_predict=12)
        return answers[prompt]

    return run


def test_two_conversations_in_one_slot_answer_as_if_each_had_its_own(
    make_engine: MakeEngine, spark_f16: Model
) -> None:
    shared = Player(make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=in_memory()))
    own = Player(make_engine(spark_f16, n_slots=2, n_ctx=1024))
    for turn in range(2, 6):
        for topic in TOPICS[:2]:
            prompt = conversation(topic, turn)
            text, end = shared.run(prompt, n_predict=16, logit_bias=EOG)
            expected, unbroken = own.run(prompt, n_predict=16, logit_bias=EOG)
            assert text == expected
            if turn > 2:
                assert end.timings.n_cached_tokens == unbroken.timings.n_cached_tokens > 50
    assert shared.steps[-1].stats.host_cache_bytes > 0


def test_a_hit_leaves_the_state_for_the_next_one(make_engine: MakeEngine, spark_f16: Model) -> None:
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=in_memory())
    player, (store, _, _) = Player(engine), parts(engine)
    cached = []
    for topic in (TOPICS[0], TOPICS[1], TOPICS[0]):
        cached.append(player.run(conversation(topic, 3), n_predict=1)[1].timings.n_cached_tokens)
    n_prompt = len(spark_f16.tokenize(conversation(TOPICS[0], 3)))
    assert cached == [cached[0], cached[1], n_prompt - 1]
    assert cached[:2] < [8, 8]
    assert len(store.host) == 2


def test_a_state_that_is_a_beginning_of_the_prompt_or_longer_serves(
    make_engine: MakeEngine, spark_f16: Model, cold: Callable[[str], str]
) -> None:
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=in_memory())
    player = Player(engine)
    long = conversation(TOPICS[0], 4)
    player.run(long, n_predict=12)
    player.run(conversation(TOPICS[1], 3), n_predict=12)
    edited = long[: long.index("part 2")] + "no. 2 again?<|im_end|>\n<|im_start|>assistant\n"
    text, end = player.run(edited, n_predict=12)
    assert text == cold(edited)
    assert end.timings.n_cached_tokens > 150


def test_without_room_or_gain_nothing_is_restored(make_engine: MakeEngine, spark_f16: Model) -> None:
    for bytes_for_states, tokens_per_s in ((0, None), (64 * MIB, 1e12)):
        engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=in_memory(bytes_for_states))
        player, (store, _, _) = Player(engine), parts(engine)
        for topic in (TOPICS[0], TOPICS[1], TOPICS[0]):
            if tokens_per_s is not None:
                store._pace.tokens_per_s = tokens_per_s
            _, end = player.run(conversation(topic, 3), n_predict=1)
            assert end.timings.n_cached_tokens < 8
        assert len(store.host) == 0


@pytest.mark.parametrize(
    ("kv_cache_type", "flash_attention"),
    [("f16", None), ("f16", False), ("q8_0", True), ("q4_0", True)],
)
def test_every_kind_of_cache_survives_the_engine(
    make_engine: MakeEngine,
    spark_f16: Model,
    tmp_path: Path,
    kv_cache_type: str,
    flash_attention: bool | None,
) -> None:
    options = {"kv_cache_type": kv_cache_type, "flash_attention": flash_attention}
    options |= {"n_slots": 2, "n_ctx": 1024, "state_cache": on_disk(tmp_path)}
    first = make_engine(spark_f16, **options)
    player = Player(first)
    player.run(conversation(TOPICS[0], 3), n_predict=12)
    longer = conversation(TOPICS[0], 4)
    parts(first)[1].finish()
    expected, unbroken = player.run(longer, n_predict=12)
    text, end = Player(make_engine(spark_f16, **options)).run(longer, n_predict=12)
    assert text == expected
    assert end.timings.n_cached_tokens == unbroken.timings.n_cached_tokens > 256


def test_a_restored_state_is_the_same_to_the_bit(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path
) -> None:
    first, second = (
        make_engine(spark_f16, n_slots=2, n_ctx=1024, state_cache=on_disk(tmp_path)) for _ in range(2)
    )
    Player(first).run(conversation(TOPICS[0], 3), n_predict=12)
    store, saver, context = parts(first)
    saver.finish()
    slot = max(range(2), key=lambda slot: store._slots.length(slot))
    state = context.copy_state(slot)
    other_store, _, other_context = parts(second)
    assert state is not None and other_store.disk is not None
    (found,) = other_store.disk.states()
    saved = other_store.disk.read(found)
    assert saved is not None
    assert other_context.restore_state(slot, saved.data)
    again = other_context.copy_state(slot)
    assert again is not None
    assert again.tobytes() == state.tobytes()


def test_other_parameters_never_meet_a_state(
    make_engine: MakeEngine, spark_f16: Model, spark: Model, tmp_path: Path
) -> None:
    base = {"n_slots": 1, "n_ctx": 1024, "kv_cache_type": "f16"}
    prompt = conversation(TOPICS[0], 3)
    engine = make_engine(spark_f16, **base, state_cache=on_disk(tmp_path))
    Player(engine).run(prompt, n_predict=2)
    parts(engine)[1].finish()
    (path,) = files(tmp_path)
    for change in ({"n_ctx": 512}, {"n_slots": 2}, {"kv_cache_type": "q8_0"}, {"flash_attention": False}):
        other = make_engine(spark_f16, **{**base, **change}, state_cache=on_disk(tmp_path))
        assert Player(other).run(prompt, n_predict=2)[1].timings.n_cached_tokens == 0
    cache = StateCacheParams(disk_bytes=64 * MIB, disk_folder=str(tmp_path), model_key="another")
    other = make_engine(spark, **base, state_cache=cache)
    assert Player(other).run(prompt, n_predict=2)[1].timings.n_cached_tokens == 0
    assert path.exists()


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_means_a_cold_start_and_goes(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path, cold: Callable[[str], str], seed: int
) -> None:
    random = Random(seed)
    prompt = conversation(TOPICS[0], 3)
    options = {"n_slots": 1, "n_ctx": 1024, "state_cache": on_disk(tmp_path)}
    engine = make_engine(spark_f16, **options)
    Player(engine).run(prompt, n_predict=2)
    parts(engine)[1].finish()
    (path,) = files(tmp_path)
    data = bytearray(path.read_bytes())
    if seed % 3 == 0:
        del data[random.randrange(len(data)) :]
    else:
        data[random.randrange(len(data))] ^= random.randrange(1, 256)
    path.write_bytes(data)
    text, end = Player(make_engine(spark_f16, **options)).run(prompt, n_predict=12)
    assert text == cold(prompt)
    assert end.timings.n_cached_tokens == 0
    assert not path.exists()


def test_a_sound_file_that_llama_cpp_refuses_means_a_cold_start_and_goes(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path, cold: Callable[[str], str]
) -> None:
    prompt = conversation(TOPICS[0], 3)
    options = {"n_slots": 1, "n_ctx": 1024, "state_cache": on_disk(tmp_path)}
    engine = make_engine(spark_f16, **options)
    Player(engine).run(prompt, n_predict=2)
    store, saver, _ = parts(engine)
    saver.finish()
    (path,) = files(tmp_path)
    assert store.disk is not None
    saved = read_state(path, store.disk._key)
    for data in (saved.data[:-100], np.zeros(1000, np.uint8), saved.data[:0]):
        writer = StateWriter(tmp_path / "a.tmp", store.disk._key, SavedState(saved.tokens, data.copy()))
        while not writer.is_whole:
            writer.write_block()
        writer.commit(path)
        text, end = Player(make_engine(spark_f16, **options)).run(prompt, n_predict=12)
        assert text == cold(prompt)
        assert end.timings.n_cached_tokens == 0
        assert not path.exists()


# What must not be copied.


def test_a_copy_that_llama_cpp_has_only_queued_is_neither_saved_nor_overwritten(
    make_engine: MakeEngine, spark_f16: Model
) -> None:
    engine = make_engine(spark_f16, n_slots=3, n_ctx=1024, state_cache=in_memory())
    player, (store, _, context) = Player(engine), parts(engine)
    prompt = conversation(TOPICS[0], 3)
    expected, _ = player.run(prompt, n_predict=12)
    source = max(range(3), key=store._slots.length)
    target = (source + 1) % 3
    saved = store.copy_out(source)
    assert saved is not None
    n = store._slots.length(source)
    context.copy_sequence(source, target)
    store._slots.take(Placement(target, n, copy_from=source))
    assert store.copy_out(target) is None
    assert not context.restore_state(source, saved.data)
    tokens = spark_f16.tokenize(conversation(TOPICS[1], 3))
    placement = Placement(source, 0)
    assert store.improve(tokens, placement, [source, target]) is placement
    # The next decode carries the copy out, and both slots are sound.
    assert player.run(FRANCE)[0] == "The capital of France is Paris."
    assert context.is_settled(source) and context.is_settled(target)
    assert player.run(prompt, n_predict=12)[0] == expected
    copied = store.copy_out(target)
    assert copied is not None and copied.data.nbytes > 0


def test_a_context_that_slid_is_not_saved(make_engine: MakeEngine, spark_f16: Model, tmp_path: Path) -> None:
    cache = both(tmp_path)
    engine = make_engine(spark_f16, n_slots=1, n_ctx=512, state_cache=cache)
    player, (store, saver, _) = Player(engine), parts(engine)
    player.run(STORY, logit_bias=EOG, n_predict=700)
    assert store._slots.length(0) > 256
    assert store.copy_out(0) is None
    saver.finish()
    player.run(conversation(TOPICS[0], 1), n_predict=1)
    assert len(store.host) == 0
    assert files(tmp_path) == []
    saver.finish()
    player.run(conversation(TOPICS[0], 3), n_predict=1)
    saver.finish()
    assert len(files(tmp_path)) == 1, "the slot is exact again"


def test_what_an_aborted_step_left_is_not_part_of_a_state(
    make_engine: MakeEngine, spark_f16: Model, monkeypatch: pytest.MonkeyPatch, cold: Callable[[str], str]
) -> None:
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, n_batch=128, state_cache=in_memory())
    player, (store, _, context) = Player(engine), parts(engine)
    prompt = conversation(TOPICS[0], 4)
    request_id = player.submit(prompt)
    player.step()
    n = store._slots.length(0)
    with monkeypatch.context() as patch:
        # All of the step is decoded and none of it counts, as when an abort comes at its very end.
        patch.setattr(player.generator, "_decode", _decode_and_abort(player))
        player.step()
    assert context.n_cached(0) == n == store._slots.length(0)
    player.generator.abort(request_id)
    saved = store.copy_out(0)
    assert saved is not None
    assert len(saved.tokens) == n
    other = make_engine(spark_f16, n_slots=1, n_ctx=1024, n_batch=128, state_cache=in_memory())
    parts(other)[0].host.put(saved)
    text, end = Player(other).run(prompt, n_predict=12)
    assert end.timings.n_cached_tokens == n
    assert text == cold(prompt)


def test_a_state_of_other_tokens_than_it_says_leaves_an_empty_slot(
    make_engine: MakeEngine, spark_f16: Model, cold: Callable[[str], str]
) -> None:
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=in_memory())
    player, (store, _, context) = Player(engine), parts(engine)
    prompt = conversation(TOPICS[0], 4)
    player.run(prompt, n_predict=12)
    saved = store.copy_out(0)
    assert saved is not None
    short = SavedState(saved.tokens[:-8], saved.data)
    assert not store.restore(Stored(short.tokens, len(short.tokens), short), 0)
    assert context.n_cached(0) == 0


def _decode_and_abort(player: Player) -> Callable[..., object]:
    from server.engine.context import Decoded

    decode = player.generator._decode

    def run(plan: object) -> object:
        assert decode(plan) is Decoded.DONE  # type: ignore[arg-type]
        return Decoded.ABORTED

    return run


# Any order of conversations.


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_conversations_answers_as_if_all_had_been_kept(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path, cold: Callable[[str], str], seed: int
) -> None:
    random = Random(seed)
    bound = (2 + seed % 2) * MIB
    cache = both(tmp_path, bound)
    options = {"n_slots": 1 + seed % 2, "n_ctx": 1024, "state_cache": cache}
    turns = dict.fromkeys(TOPICS, 1)
    n_cached = 0
    engine = make_engine(spark_f16, **options)
    player = Player(engine)
    for _ in range(16):
        event = random.random()
        topic = random.choice(TOPICS)
        if event < 0.15:
            parts(engine)[1].finish()
            engine = make_engine(spark_f16, **options)
            player = Player(engine)
        elif event < 0.3:
            parts(engine)[1].finish()
        elif event < 0.4:
            turns[topic] = 1
        elif turns[topic] < 5:
            turns[topic] += 1
        prompt = conversation(topic, turns[topic])
        text, end = player.run(prompt, n_predict=12)
        assert text == cold(prompt)
        n_cached += end.timings.n_cached_tokens
        assert parts(engine)[0].host.n_bytes <= bound
        assert sum(path.stat().st_size for path in files(tmp_path)) <= bound
    assert n_cached > 500
