"""Tokens and texts, threads and devices, and what a worker imports."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from server.engine import native
from server.engine.devices import list_devices
from server.engine.failures import BadRequest
from server.engine.model import Model
from server.engine.prompt import control_tokens, prompt_tokens
from server.engine.threads import n_compute_threads
from tests.support.engine_worker import REPOSITORY


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(max_size=60))
@example(text=" . , n't")
def test_any_text_survives_its_tokens(spark: Model, text: str) -> None:
    tokens = spark.tokenize(text, parse_special=False)
    assert b"".join(spark.piece(int(token)) for token in tokens).decode() == text
    assert spark.detokenize(tokens) == text


def test_a_text_with_lone_surrogates_has_tokens(spark: Model) -> None:
    assert len(spark.tokenize("a\ud800b"))


def test_a_long_text_is_tokenised_whole(spark: Model) -> None:
    text = "!?" * 20_000
    assert spark.detokenize(spark.tokenize(text)) == text


def test_special_tokens_are_recognised_where_asked_for(spark: Model) -> None:
    assert spark.tokenize("<|im_start|>").tolist() == [1]
    assert len(spark.tokenize("<|im_start|>", parse_special=False)) > 1
    assert spark.piece(1) == b""
    assert spark.piece(1, special=True) == b"<|im_start|>"
    assert spark.is_eog(2) and not spark.is_eog(1)
    assert control_tokens(spark, ("<|im_start|>", "<think>", "words", "")) == {1: "<|im_start|>"}


def test_bos_goes_in_front_once(minilm: Model) -> None:
    once = prompt_tokens(minilm, ("why",)).tokens.tolist()
    assert once[0] == minilm.bos
    head = minilm.bos_text
    assert prompt_tokens(minilm, (head + "why",)).tokens.tolist()[:2].count(minilm.bos) == 1
    assert prompt_tokens(minilm, ((5,), "why")).tokens.tolist()[0] == 5


def test_no_pieces_are_no_prompt(spark: Model) -> None:
    assert prompt_tokens(spark, ()).tokens.tolist() == [spark.bos]
    with pytest.raises(BadRequest):
        prompt_tokens(spark, ((-5,),))


def test_threads_are_within_what_the_process_may_use() -> None:
    assert 1 <= n_compute_threads() <= len(os.sched_getaffinity(0))


def test_threads_follow_the_affinity() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from server.engine.threads import n_compute_threads; print(n_compute_threads())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    assert found.stdout.strip() == "1"


def test_the_processor_is_a_device() -> None:
    native.backend_init()
    devices = list_devices()
    assert "cpu" in [device.kind for device in devices]
    assert all(device.memory_total_bytes >= device.memory_free_bytes >= 0 for device in devices)


def test_a_worker_imports_neither_the_package_nor_the_rest_of_the_server() -> None:
    code = (
        "import sys; import server.engine.loop;"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('server', 'llama_cpp')"
        " or name in ('asyncio', 'textual', 'starlette', 'jinja2')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    names = set(eval(found.stdout))
    assert "llama_cpp.llama" not in names
    assert "llama_cpp.llama_cpp" in names
    places = {".".join(name.split(".")[:2]) for name in names if name.startswith("server.")}
    assert places <= {"server.engine", "server.ipc", "server.types", "server.errors"}


def test_detokenize_takes_no_tokens(spark: Model) -> None:
    assert spark.detokenize(np.empty(0, np.int32)) == ""
