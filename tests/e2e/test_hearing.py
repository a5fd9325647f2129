"""Models that hear, through the whole server: transcriptions, and sounds in chats."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.support.live_server import create_model, live_server
from tests.support.vision_models import CHAT_TEMPLATE, picture, sound, write_hearing_model, write_vision_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("hearing")
    with live_server(folder) as client:
        hearing = write_hearing_model(folder, chat_template=CHAT_TEMPLATE)
        seeing = write_vision_model(folder, "llava")
        extra = {"parameters": {"num_predict": 16, "num_ctx": 2048}}
        create_model(client, "hearing", hearing.text, hearing.projector, **extra)
        create_model(client, "seeing", seeing.text, seeing.projector, **extra)
        create_model(client, "deaf", seeing.text, **extra)
        yield client


@pytest.fixture
def client(server: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=str(server.base_url.join("/v1")), api_key="none", max_retries=0) as client:
        yield client


def test_a_transcription_whole_streamed_and_as_text(server: httpx.Client, client: openai.OpenAI) -> None:
    file = ("speech.wav", sound(1))
    whole = client.audio.transcriptions.create(model="hearing", file=file, language="en")
    other = client.audio.transcriptions.create(model="hearing", file=("speech.wav", sound(2)), language="en")
    assert whole.text and whole.text != other.text
    text = client.audio.transcriptions.create(
        model="hearing", file=file, language="en", response_format="text"
    )
    assert text == whole.text
    events = list(client.audio.transcriptions.create(model="hearing", file=file, language="en", stream=True))
    assert [event.type for event in events][-1] == "transcript.text.done"
    deltas = [event.delta for event in events if event.type == "transcript.text.delta"]
    assert "".join(deltas).strip() == whole.text == getattr(events[-1], "text", None)


def test_a_sound_in_a_chat(server: httpx.Client, client: openai.OpenAI) -> None:
    assert "audio" in server.post("/api/show", json={"model": "hearing"}).json()["capabilities"]
    data = base64.b64encode(sound(3)).decode()
    part: Any = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    answer = client.chat.completions.create(
        model="hearing",
        temperature=0,
        messages=[{"role": "user", "content": [part, {"type": "text", "text": "What do you hear?"}]}],
    )
    native = {"role": "user", "content": "[img]What do you hear?", "images": [data]}
    body = {"model": "hearing", "messages": [native], "stream": False, "options": {"temperature": 0}}
    assert (
        server.post("/api/chat", json=body).json()["message"]["content"] == answer.choices[0].message.content
    )


def test_faults_have_an_answer(server: httpx.Client, client: openai.OpenAI) -> None:
    for model, data, words in (
        ("hearing", b"no sound", "does not see"),
        ("hearing", b"RIFF\0\0\0\0WAVEnothing", "cannot be decoded"),
        ("hearing", picture(1), "does not see"),
        ("seeing", sound(1), "does not hear"),
        ("deaf", sound(1), "multimodal"),
        ("hearing", b"", "empty"),
    ):
        with pytest.raises(openai.BadRequestError, match=words):
            client.audio.transcriptions.create(model=model, file=("a.wav", data))
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="nobody", file=("a.wav", sound(1)))
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.audio.transcriptions.create(model="hearing", file=("a.wav", sound(1)), response_format="srt")
    reply = server.post("/v1/audio/transcriptions", json={"model": "hearing"})
    assert reply.status_code == 400 and "form" in reply.json()["error"]["message"]
