"""A request that asks for it gets the same tokens whatever else is decoded meanwhile."""

from __future__ import annotations

import pytest

from server.engine.model import Model
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, STORY, Player

PROMPTS = [
    f"<|im_start|>user\nTell me {n} things about the number {n}.<|im_end|>\n<|im_start|>assistant\n"
    for n in range(25)
]


@pytest.mark.parametrize("options", [{}, {"temperature": 0.9, "top_k": 0}])
def test_tokens_are_those_of_a_request_alone(
    make_engine: MakeEngine, spark: Model, options: dict[str, object]
) -> None:
    one = Player(make_engine(spark, n_slots=1, n_ctx=256))
    for prompt in PROMPTS:
        one.run(prompt, n_predict=24, deterministic=True, logit_bias=EOG, **options)
    many = Player(make_engine(spark, n_slots=16, n_ctx=256))
    ids = [
        many.submit(prompt, n_predict=24, deterministic=True, logit_bias=EOG, **options) for prompt in PROMPTS
    ]
    others = [many.submit(STORY, n_predict=60, temperature=1.0) for _ in range(6)]
    while len(many.ends) < len(ids) + len(others):
        many.step()
    assert [many.tokens(request_id) for request_id in ids] == [
        one.tokens(number + 1) for number in range(len(PROMPTS))
    ]


def test_what_is_in_memory_is_not_used(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_slots=2))
    first, _ = player.run(STORY, n_predict=20, deterministic=True)
    second, end = player.run(STORY, n_predict=20, deterministic=True)
    assert (second, end.timings.n_cached_tokens, end.timings.n_drafted_tokens) == (first, 0, 0)
