"""A worker is killed under a running server: clients do not notice, unless it happens again and again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest

from tests.e2e.conftest import Served, lines_of, serving, wait_until

TELL: list[dict[str, str]] = [{"role": "user", "content": "Tell me a story."}]
QUESTION: dict[str, Any] = {
    "model": "spark",
    "prompt": "What is the capital of France?",
    "stream": False,
    "options": {"temperature": 0},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server of its own, because crashes count for five minutes."""
    with serving(tmp_path) as served:
        served.post("/api/generate", {"model": "spark", "stream": False})
        yield served


def worker_pid(served: Served) -> int:
    """Process id of spark's worker; 0 while there is none."""
    (model,) = served.client.get("/olla/status").json()["running"]
    return int(model["pid"])


def kill_worker(served: Served) -> int:
    pid = worker_pid(served)
    assert pid
    os.kill(pid, signal.SIGKILL)
    return pid


def tell(
    client: ollama.Client, served: Served | None = None, *, n_parts: int = 3
) -> list[ollama.ChatResponse]:
    """All parts of a long story; with `served` its worker is killed after some of them."""
    parts: list[ollama.ChatResponse] = []
    options = {"temperature": 0, "num_predict": 300, "ignore_eos": True}
    for part in client.chat("spark", messages=TELL, think=False, stream=True, options=options):
        parts.append(part)
        if served is not None and len(parts) == n_parts:
            kill_worker(served)
    return parts


def test_the_official_client_gets_the_unbroken_answer(server: Served) -> None:
    with ollama.Client(host=server.url) as client:
        whole = tell(client)
        pid = worker_pid(server)
        broken = tell(client, server)
    assert worker_pid(server) not in (0, pid)
    assert [part.done for part in broken].count(True) == 1
    assert "".join(part.message.content or "" for part in broken) == "".join(
        part.message.content or "" for part in whole
    )
    last, expected = broken[-1], whole[-1]
    assert last.done_reason == expected.done_reason == "length"
    assert last.eval_count == expected.eval_count == 300
    assert last.prompt_eval_count == expected.prompt_eval_count
    assert last.total_duration and last.eval_duration and last.prompt_eval_duration
    assert last.eval_duration + last.prompt_eval_duration <= last.total_duration


def test_clients_side_by_side_get_their_unbroken_answers(server: Served) -> None:
    """One of Ollama's and one of OpenAI's, the second with a schema."""
    schema = {
        "type": "object",
        "properties": {"names": {"type": "array", "items": {"type": "string"}, "minItems": 3}},
        "required": ["names"],
    }

    def structured() -> str:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused") as client:
            chunks = client.chat.completions.create(
                model="spark",
                messages=[{"role": "user", "content": "Name three animals."}],
                temperature=0,
                max_tokens=60,
                stream=True,
                reasoning_effort="none",
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "animals", "schema": schema},
                },
            )
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    with ollama.Client(host=server.url) as client, ThreadPoolExecutor(4) as pool:
        whole = tell(client)[-1].eval_count, structured()
        structures = [pool.submit(structured) for _ in range(3)]
        told = tell(client, server)[-1].eval_count
        assert [told] + [future.result() for future in structures] == [whole[0]] + [whole[1]] * 3


def test_a_whole_reply_and_an_endless_stream_outlive_a_kill(server: Served) -> None:
    expected = server.post("/api/generate", QUESTION)["response"]
    with server.client.stream("POST", "/api/generate", json=endless(server)) as reply:
        lines = lines_of(reply)
        next(lines)
        pid = kill_worker(server)
        assert server.post("/api/generate", QUESTION)["response"] == expected
        for _ in range(5):
            assert "error" not in next(lines)
        assert worker_pid(server) not in (0, pid)
    wait_until(lambda: server.client.get("/olla/status").json()["n_active"] == 0)


def endless(served: Served) -> dict[str, Any]:
    """A request whose answer never ends by itself: the tokens that end a text are forbidden."""
    tokens = [
        served.post("/olla/tokenize", {"model": "spark", "text": text})["tokens"][-1]
        for text in ("<|im_end|>", "<|endoftext|>")
    ]
    return {
        "model": "spark",
        "prompt": "Tell me a story.",
        "options": {"num_predict": -1, "temperature": 0},
        "olla": {"logit_bias": {str(token): -1000 for token in tokens}},
    }


def test_after_three_crashes_the_model_rests_until_it_is_stopped(server: Served) -> None:
    for _ in range(3):
        assert server.post("/api/generate", QUESTION)["response"]
        kill_worker(server)
        wait_until(lambda: worker_pid(server) == 0)
    for _ in range(2):
        refused = server.client.post("/api/generate", json=QUESTION)
        assert refused.status_code == 500
        assert "3 times within 5 minutes" in refused.json()["error"]
        assert "'olla stop spark:latest'" in refused.json()["error"]
    with ollama.Client(host=server.url) as client, pytest.raises(ollama.ResponseError, match="olla stop"):
        tell(client)
    assert server.run("stop", "spark").returncode == 0
    assert server.post("/api/generate", QUESTION)["response"]
