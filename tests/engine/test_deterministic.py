"""A request that asks for it gets the same tokens whatever else is decoded meanwhile."""

from __future__ import annotations

from server.engine.model import Model
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, STORY, Player

PROMPTS = [
    f"<|im_start|>user\nTell me {n} things about the number {n}.<|im_end|>\n<|im_start|>assistant\n"
    for n in range(100)
]


OPTIONS: tuple[dict[str, object], ...] = ({}, {"temperature": 0.9, "top_k": 0})
"""Of every other prompt: the likeliest tokens, and drawn ones."""


def submit_all(player: Player, prompts: list[str]) -> list[int]:
    return [
        player.submit(
            prompt, n_predict=12, deterministic=True, logit_bias=EOG, **OPTIONS[number % len(OPTIONS)]
        )
        for number, prompt in enumerate(prompts)
    ]


def test_tokens_are_those_of_a_request_alone(make_engine: MakeEngine, spark: Model) -> None:
    one = Player(make_engine(spark, n_slots=1, n_ctx=256))
    alone = submit_all(one, PROMPTS)
    many = Player(make_engine(spark, n_slots=16, n_ctx=256))
    ids = submit_all(many, PROMPTS)
    others = [many.submit(STORY, n_predict=60, temperature=1.0) for _ in range(6)]
    for player, n_requests in ((one, len(alone)), (many, len(ids) + len(others))):
        while len(player.ends) < n_requests:
            player.step()
    assert [many.tokens(request_id) for request_id in ids] == [one.tokens(request_id) for request_id in alone]


def test_what_is_in_memory_is_not_used(make_engine: MakeEngine, spark: Model) -> None:
    player = Player(make_engine(spark, n_slots=2))
    first, _ = player.run(STORY, n_predict=20, deterministic=True)
    second, end = player.run(STORY, n_predict=20, deterministic=True)
    assert (second, end.timings.n_cached_tokens, end.timings.n_drafted_tokens) == (first, 0, 0)
