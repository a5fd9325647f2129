"""Slots that share a pool smaller than their contexts: all requests finish, with the answers of a slot alone."""

from __future__ import annotations

import pytest

from server.engine.model import Model
from server.ipc.messages import Finished
from server.types.generation import StateCacheParams
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, Player

N_CTX = 512


def prompts(n: int, *, n_filler: int = 0) -> list[str]:
    filler = "The quick brown fox jumps over the lazy dog. " * n_filler
    return [
        f"<|im_start|>user\n{filler}Count from {number} to {number + 9}.<|im_end|>\n<|im_start|>assistant\n"
        for number in range(n)
    ]


def alone(make_engine: MakeEngine, model: Model, texts: list[str], **options: object) -> list[str]:
    return [Player(make_engine(model, n_slots=1, n_ctx=N_CTX)).run(text, **options)[0] for text in texts]


def run_all(player: Player, texts: list[str], **options: object) -> list[str]:
    ids = [player.submit(text, **options) for text in texts]  # type: ignore[arg-type]
    for _ in range(20_000):
        if len(player.ends) >= len(ids):
            break
        player.step()
    ends = [player.ends[request_id] for request_id in ids]
    assert all(isinstance(end, Finished) for end in ends), ends
    return [player.text(request_id) for request_id in ids]


@pytest.mark.parametrize("host_bytes", [0, 1 << 26])
def test_more_than_fits_is_answered_as_alone(
    make_engine: MakeEngine, spark_f16: Model, host_bytes: int
) -> None:
    texts = prompts(6, n_filler=8)
    options = {"n_predict": 120, "logit_bias": EOG}
    engine = make_engine(
        spark_f16,
        n_slots=4,
        n_ctx=N_CTX,
        n_pool_cells=N_CTX,
        state_cache=StateCacheParams(host_bytes=host_bytes),
    )
    player = Player(engine)
    found = run_all(player, texts, **options)
    expected = alone(make_engine, spark_f16, texts, **options)
    for one, other in zip(found, expected, strict=True):
        assert one[:80] == other[:80]
    assert max(step.stats.n_busy_slots for step in player.steps) > 1
    assert all(step.stats.n_kv_tokens <= N_CTX for step in player.steps)
