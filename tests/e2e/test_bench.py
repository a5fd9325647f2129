"""`olla bench` on a real model."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Served


def test_all_figures_are_measured(served: Served) -> None:
    words = ("--clients", "1,3", "--prompt", "40", "--predict", "8", "--rounds", "1", "--format", "json")
    done = served.run("bench", "plain", *words)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["model"] == "plain"
    assert [row["n_clients"] for row in figures["decode"]] == [1, 3]
    measured = [figures[name] for name in ("load_s", "first_token_s", "prefill_tokens_per_s")]
    measured += [row["tokens_per_s"] for row in figures["decode"]] + [figures["ceiling_tokens_per_s"]]
    assert all(value > 0 for value in measured)
    assert 20 <= figures["n_prompt_tokens"] <= 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nobody",), "Error: model 'nobody' not found"),
        (("minilm",), "minilm does not generate text"),
        (("plain", "--clients", "many"), "--clients takes numbers with commas between"),
        (("plain", "--rounds", "0"), "take numbers from 1 on"),
        (("plain", "--format", "xml"), "--format xml is not known"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(
    served: Served, words: tuple[str, ...], message: str
) -> None:
    done = served.run("bench", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
