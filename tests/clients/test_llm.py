"""The command `llm`, with llm-ollama and with a model of extra-openai-models.yaml."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.asked import CAPITAL, CAPITAL_ANSWER, CITY_SCHEMA, ENDLESS, N_EMBD, assert_city
from tests.clients.serving import Server
from tests.support.vision_models import picture

OPENAI_MODELS = """\
- model_id: served-plain
  model_name: plain
  api_base: {url}/v1
  supports_schema: true
- model_id: served-eyes
  model_name: eyes
  api_base: {url}/v1
  vision: true
- model_id: served-nope
  model_name: nope
  api_base: {url}/v1
- model_id: served-endless
  model_name: endless
  api_base: {url}/v1
"""
TOOL = """
def get_weather(city: str) -> str:
    "Weather of a city"
    return "18 C in " + city
"""


class Command:
    """Runs `llm` with a folder of its own."""

    def __init__(self, server: Server, folder: Path) -> None:
        (folder / "extra-openai-models.yaml").write_text(OPENAI_MODELS.format(url=server.url))
        self.environ = {
            **os.environ,
            "LLM_USER_PATH": str(folder),
            "OLLAMA_HOST": server.url,
            "OPENAI_API_KEY": "unused",
        }
        self.words = [sys.executable, "-m", "llm"]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def says(self, *words: str) -> str:
        ended = self.run(*words)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.rstrip("\n")


@pytest.fixture(scope="module")
def command(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(server, tmp_path_factory.mktemp("llm"))


@pytest.mark.parametrize("model", ["ollama/plain", "served-plain"])
def test_an_answer_streamed_and_whole(command: Command, model: str) -> None:
    options = ("-o", "temperature", "0")
    assert command.says("-m", model, *options, CAPITAL) == CAPITAL_ANSWER
    assert command.says("-m", model, *options, "--no-stream", CAPITAL) == CAPITAL_ANSWER


def test_models_are_listed_by_what_they_can(command: Command) -> None:
    listed = command.says("models")
    for name in ("spark:latest", "native:latest", "eyes:latest"):
        assert f"ollama/{name}" in listed
    assert "ollama/minilm" not in listed
    assert "ollama/minilm:latest" in command.says("embed-models")
    with_tools = command.says("models", "--tools")
    assert "ollama/spark:latest" in with_tools and "ollama/plain:latest" not in with_tools


@pytest.mark.parametrize("think", ["true", "false"])
def test_thoughts_are_no_part_of_the_answer(command: Command, think: str) -> None:
    options = ("-o", "temperature", "0", "-o", "think", think)
    assert command.says("-m", "ollama/spark", *options, CAPITAL) == CAPITAL_ANSWER


def test_a_tool_is_called_and_its_result_given_back(command: Command) -> None:
    words = (
        "-m",
        "ollama/spark",
        "-o",
        "temperature",
        "0",
        "-o",
        "think",
        "false",
        "--functions",
        TOOL,
        "--td",
    )
    ended = command.run(*words, "What is the weather in Paris?")
    assert ended.returncode == 0, ended.stderr
    assert "get_weather({'city': 'Paris'})" in ended.stderr
    assert "18 C in Paris" in ended.stderr
    assert ended.stdout.strip()


@pytest.mark.parametrize("model", ["ollama/plain", "served-plain"])
def test_a_schema_holds(command: Command, model: str) -> None:
    words = ("-m", model, "-o", "temperature", "0", "--schema", json.dumps(CITY_SCHEMA), CAPITAL)
    assert_city(json.loads(command.says(*words)))


@pytest.mark.parametrize("model", ["ollama/eyes", "served-eyes"])
def test_images_are_used(command: Command, model: str, tmp_path: Path) -> None:
    bound = ("-o", "num_predict" if model == "ollama/eyes" else "max_tokens", "12", "-o", "temperature", "0")
    texts = []
    for seed in (1, 2):
        path = tmp_path / f"{seed}.png"
        path.write_bytes(picture(seed))
        texts.append(command.says("-m", model, *bound, "-a", str(path), "What is this?"))
    assert texts[0] != texts[1]


def test_embeddings(command: Command) -> None:
    vector = json.loads(command.says("embed", "-m", "ollama/minilm", "-c", "The sky is blue"))
    assert len(vector) == N_EMBD


@pytest.mark.parametrize("model", ["ollama/endless", "served-endless"])
def test_an_interrupt_frees_the_slot(command: Command, server: Server, model: str) -> None:
    bound = ("-o", "num_predict" if model == "ollama/endless" else "max_tokens", "20000")
    with server.broken_off("endless"):
        running = subprocess.Popen(
            [*command.words, "-m", model, *bound, ENDLESS],
            env=command.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert running.stdout is not None and running.stdout.read(1)
            running.send_signal(signal.SIGINT)
            running.stdout.read()
            assert running.wait(20) != 0
        finally:
            running.kill()
            running.wait()
            running.stdout.close()


def test_errors_reach_the_user(command: Command) -> None:
    ended = command.run("-m", "ollama/nope:latest", "Hi")
    assert ended.returncode == 1 and "nope:latest" in ended.stderr
    ended = command.run("-m", "served-nope", "Hi")
    assert ended.returncode == 1 and "model 'nope' not found" in ended.stderr
