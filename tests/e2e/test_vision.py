"""Models that see, through the whole server: native API, OpenAI's, the official clients."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest

from tests.support.live_server import create_model, live_server
from tests.support.vision_models import CHAT_TEMPLATE, KINDS, picture, write_vision_model

GREEDY: dict[str, Any] = {"temperature": 0, "num_predict": 12, "num_ctx": 2048, "seed": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("vision")
    with live_server(folder) as client:
        for kind in KINDS:
            files = write_vision_model(folder, kind, chat_template=CHAT_TEMPLATE)
            create_model(client, kind, files.text, files.projector)
        create_model(client, "blind", folder / "llava.gguf")
        yield client


def _look(client: httpx.Client, model: str, *seeds: int, **extra: Any) -> dict[str, Any]:
    images = [base64.b64encode(picture(seed)).decode() for seed in seeds]
    message = {"role": "user", "content": "What is this?", "images": images}
    body = {"model": model, "messages": [message], "stream": False, "options": GREEDY, **extra}
    reply = client.post("/api/chat", json=body)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_chat_with_a_picture(server: httpx.Client, kind: str) -> None:
    assert "vision" in server.post("/api/show", json={"model": kind}).json()["capabilities"]
    first, second = _look(server, kind, 1), _look(server, kind, 2)
    without = _look(server, kind)
    assert first["message"]["content"] == _look(server, kind, 1)["message"]["content"]
    assert first["message"]["content"] != second["message"]["content"]
    n_first = first["prompt_eval_count"]
    assert n_first == second["prompt_eval_count"] > without["prompt_eval_count"]
    assert _look(server, kind, 1, 2)["prompt_eval_count"] > n_first


def test_both_routes_and_openai_give_one_answer(server: httpx.Client) -> None:
    image = base64.b64encode(picture(3)).decode()
    native = _look(server, "qwen2vl", 3)
    generated = server.post(
        "/api/generate",
        json={"model": "qwen2vl", "prompt": "What is this?", "images": [image], "options": GREEDY}
        | {"stream": False},
    ).json()
    assert generated["response"] == native["message"]["content"]
    with openai.OpenAI(base_url=str(server.base_url.join("/v1")), api_key="none") as client:
        completion = client.chat.completions.create(
            model="qwen2vl",
            temperature=0,
            max_tokens=12,
            seed=1,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}},
                        {"type": "text", "text": "What is this?"},
                    ],
                }
            ],
        )
    assert completion.choices[0].message.content == native["message"]["content"]
    assert completion.usage is not None and completion.usage.prompt_tokens == native["prompt_eval_count"]


def test_the_official_client_streams_an_answer_about_a_file(server: httpx.Client, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(picture(4, size=(200, 100), form="JPEG"))
    messages = [{"role": "user", "content": "And this?", "images": [str(path)]}]
    with ollama.Client(host=str(server.base_url)) as client:
        parts = list(client.chat("llava", messages=messages, stream=True, options=GREEDY))
        whole = client.chat("llava", messages=messages, options=GREEDY)
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts].count(True) == 1


def test_the_next_turn_finds_the_picture_in_memory(server: httpx.Client) -> None:
    first = _look(server, "gemma3", 5)
    image = base64.b64encode(picture(5)).decode()
    messages = [
        {"role": "user", "content": "What is this?", "images": [image]},
        {"role": "assistant", "content": first["message"]["content"]},
        {"role": "user", "content": "Are you sure?"},
    ]
    body = {"model": "gemma3", "messages": messages, "stream": False, "options": GREEDY}
    reply = server.post("/api/chat", json={**body, "olla": {"details": True}}).json()
    assert reply["olla"]["n_cached_tokens"] >= first["prompt_eval_count"] - 1


def test_marks_in_a_users_text_are_text(server: httpx.Client) -> None:
    image = base64.b64encode(picture(6)).decode()
    body = {"model": "llava", "stream": False, "options": GREEDY}
    plain = {"role": "user", "content": "x [img-0] y", "images": [image]}
    counted = server.post("/api/chat", json={**body, "messages": [plain]}).json()["prompt_eval_count"]
    shorter = {"role": "user", "content": "x  y", "images": [image]}
    fewer = server.post("/api/chat", json={**body, "messages": [shorter]}).json()["prompt_eval_count"]
    assert counted == fewer + len("[img-0]")


def test_faults_have_an_answer(server: httpx.Client) -> None:
    broken = base64.b64encode(b"no picture at all").decode()
    body: dict[str, Any] = {"model": "llava", "stream": False, "options": GREEDY}
    messages = [{"role": "user", "content": "?", "images": [broken]}]
    reply = server.post("/api/chat", json={**body, "messages": messages})
    assert reply.status_code == 400 and "picture" in reply.json()["error"]
    good = [{"role": "user", "content": "?", "images": [base64.b64encode(picture(1)).decode()]}]
    reply = server.post("/api/chat", json={**body, "model": "blind", "messages": good})
    assert reply.status_code == 400 and "multimodal" in reply.json()["error"]
    reply = server.post("/api/chat", json={**body, "messages": good})
    assert reply.status_code == 200
