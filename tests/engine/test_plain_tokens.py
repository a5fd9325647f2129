"""What is left out of a step that is as the last one: nothing that would have changed a token, or kept it."""

from __future__ import annotations

from typing import Any

import pytest

from server.engine import row_reader
from server.engine.generation import plain_delta
from server.engine.model import Model
from server.ipc.messages import Finished
from tests.engine.conftest import MakeEngine
from tests.support.generator_player import EOG, FRANCE, STORY, Player

UNICODE = 'root ::= ("é" | "a" | "😀" | "b")+'

REQUESTS: dict[str, dict[str, Any]] = {
    "greedy": {"n_predict": 40},
    "sampled": {"n_predict": 40, "temperature": 1.2, "seed": 3, "top_k": 40, "top_p": 0.9},
    "top-p alone": {"n_predict": 30, "temperature": 1.0, "seed": 4, "top_k": 0, "top_p": 0.8},
    "to the end of the context": {"n_predict": 400, "logit_bias": EOG, "context_shift": False},
    "a context that slides": {"n_predict": 300, "logit_bias": EOG, "n_keep": 4},
    "penalties": {"n_predict": 40, "repeat_penalty": 1.5, "repeat_last_n": 16},
    "stop text": {"n_predict": 80, "stop": (" the",)},
    "log probabilities": {"n_predict": 12, "logprobs": True, "n_top_logprobs": 2},
    "grammar": {"n_predict": 24, "grammar": UNICODE, "temperature": 1.5, "seed": 9, "top_k": 40},
    "ends ignored": {"n_predict": 48, "ignore_eos": True, "temperature": 1.0, "seed": 5, "top_k": 20},
    "one token": {"n_predict": 1},
}


def outcome(player: Player) -> list[Any]:
    """What the server was told of each request, times apart."""
    for name, options in REQUESTS.items():
        player.submit(STORY if len(name) % 2 else FRANCE, **{"n_draft": 0, **options})
    while len(player.ends) < len(REQUESTS):
        player.step()
    told: list[Any] = []
    for request_id, end in sorted(player.ends.items()):
        deltas = player.deltas.get(request_id, [])
        assert isinstance(end, Finished)
        how = (end.reason, end.stop_text, end.timings.n_output_tokens)
        tokens = [token for delta in deltas for token in delta.tokens]
        logprobs = [logprob for delta in deltas for logprob in delta.logprobs]
        refused = sum(delta.n_refused for delta in deltas)
        told.append((how, tokens, "".join(delta.text for delta in deltas), logprobs, refused))
    return told


def test_a_second_look_changes_nothing(
    make_engine: MakeEngine, spark_f16: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request after the other: who else is in a step shows in the last bits of logits."""
    n_plain = 0

    def counted(*args: Any) -> Any:
        nonlocal n_plain
        delta = plain_delta(*args)
        n_plain += delta is not None
        return delta

    with monkeypatch.context() as patch:
        patch.setattr(row_reader, "plain_delta", counted)
        quick = outcome(Player(make_engine(spark_f16, n_slots=1, n_ctx=256)))
    assert n_plain > 100
    with monkeypatch.context() as patch:
        patch.setattr(row_reader, "look_ahead", lambda generation, n_free: None)
        thorough = outcome(Player(make_engine(spark_f16, n_slots=1, n_ctx=256)))
    for name, a, b in zip(REQUESTS, quick, thorough, strict=True):
        assert a == b, name


def test_the_last_token_of_a_bound_ends_the_request(make_engine: MakeEngine, spark_f16: Model) -> None:
    player = Player(make_engine(spark_f16, n_slots=1))
    for n_predict in (1, 2, 3, 17):
        request_id = player.submit(STORY, n_predict=n_predict, ignore_eos=True, n_draft=0)
        while request_id not in player.ends:
            player.step()
        end = player.ends[request_id]
        assert isinstance(end, Finished) and end.reason == "length"
        assert len(player.tokens(request_id)) == n_predict


def test_steps_are_alike_until_somebody_comes_or_has_to_be_told(
    make_engine: MakeEngine, spark_f16: Model
) -> None:
    player = Player(make_engine(spark_f16, n_slots=2))
    generator = player.generator
    assert not generator.is_steady
    player.submit(STORY, n_predict=40, ignore_eos=True, n_draft=0)
    player.step()
    assert not generator.is_steady  # the prompt was in it
    player.step()
    assert generator.is_steady
    second = player.submit(FRANCE, n_predict=3, ignore_eos=True, reports_at_once=True)
    assert not generator.is_steady
    while second not in player.ends:
        player.step()
        assert not generator.is_steady
    player.step()
    player.step()
    assert generator.is_steady
