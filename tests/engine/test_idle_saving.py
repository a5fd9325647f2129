"""Conversations are written to disk while the worker is idle."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.engine.idle_saving import IdleSaver
from server.engine.model import Model
from server.engine.state_policy import RESAVE_DELAY_S, SAVE_DELAY_S
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, Player
from tests.support.states import MIB, TOPICS, both, conversation, files, on_disk, parts


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_conversation_is_written_after_a_while_and_again_when_it_has_grown(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path
) -> None:
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=on_disk(tmp_path))
    assert engine.generator is not None
    store, clock = engine.generator._states, Clock()
    saver = engine.generator.saver = IdleSaver(store, store._slots, clock)
    player = Player(engine)
    assert saver.wait_s() is None
    player.run(FRANCE)
    assert saver.wait_s() is None, "too short to be worth a file"

    player.run(conversation(TOPICS[0], 4), n_predict=12)
    assert saver.wait_s() == pytest.approx(SAVE_DELAY_S)
    clock.now_s += SAVE_DELAY_S
    while saver.wait_s() == 0.0:
        saver.work()
    assert saver.wait_s() is None
    assert len(files(tmp_path)) == 1

    player.run(conversation(TOPICS[0], 4), n_predict=20, logit_bias=EOG)
    assert saver.wait_s() == pytest.approx(RESAVE_DELAY_S), "most of it is there already"
    player.run(conversation(TOPICS[0], 5), n_predict=12)
    assert saver.wait_s() == pytest.approx(SAVE_DELAY_S)
    clock.now_s += SAVE_DELAY_S
    saver.work()
    player.run(conversation(TOPICS[0], 6), n_predict=12)
    assert saver.wait_s() == 0.0
    saver.work()
    assert list(tmp_path.rglob("*.tmp")) == [], "what a longer state replaces is not written to its end"
    clock.now_s += SAVE_DELAY_S
    while saver.wait_s() == 0.0:
        saver.work()
    assert len(files(tmp_path)) == 1
    assert files(tmp_path)[0].stat().st_size > 1000 * len(spark_f16.tokenize(conversation(TOPICS[0], 6)))


def test_what_left_its_slot_before_it_was_written_is_written_from_memory(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path
) -> None:
    cache = both(tmp_path)
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=cache)
    player, (store, saver, _) = Player(engine), parts(engine)
    for topic in TOPICS[:3]:
        player.run(conversation(topic, 3), n_predict=2)
    saver.finish()
    assert store.disk is not None
    texts = [spark_f16.detokenize(state.tokens) for state in store.disk.states()]
    assert sorted(topic for topic in TOPICS for text in texts if topic in text) == sorted(TOPICS[:3])


def test_a_state_without_room_on_disk_is_not_tried_again(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path
) -> None:
    cache = both(tmp_path, 64 * MIB, 1000)
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=cache)
    player, (_, saver, _) = Player(engine), parts(engine)
    for topic in TOPICS[:2]:
        player.run(conversation(topic, 3), n_predict=2)
    saver.finish()
    assert saver.wait_s() is None
    assert files(tmp_path) == []


def test_a_full_disk_disturbs_nobody(
    make_engine: MakeEngine, spark_f16: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(spark_f16, n_slots=1, n_ctx=1024, state_cache=on_disk(tmp_path))
    player, (_, saver, _) = Player(engine), parts(engine)
    prompt = conversation(TOPICS[0], 3)
    expected, _ = player.run(prompt, n_predict=12)

    def no_space(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", no_space)
        saver.finish()
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"] == []
    assert (saver.wait_s() or 0.0) > 1.0
    assert player.run(prompt, n_predict=12)[0] == expected
