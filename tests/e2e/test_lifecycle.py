"""Ends: of the server, of a worker, of a client. Each leaves what stays behind in order."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import Served, lines_of, serving, wait_until

ENDLESS: dict[str, Any] = {
    "model": "spark",
    "prompt": "Tell me a story.",
    "options": {"num_predict": -1, "temperature": 0},
}


def endless(served: Served) -> dict[str, Any]:
    """A request whose answer never ends by itself: the tokens that end a text are forbidden."""
    tokens = [
        served.post("/olla/tokenize", {"model": "spark", "text": text})["tokens"][-1]
        for text in ("<|im_end|>", "<|endoftext|>")
    ]
    return {**ENDLESS, "olla": {"logit_bias": {str(token): -1000 for token in tokens}}}


def active(served: Served) -> int:
    return int(served.client.get("/olla/status").json()["n_active"])


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_workers_promptly(tmp_path: Path, signal_number: int) -> None:
    with serving(tmp_path) as served:
        served.post("/api/generate", {"model": "spark", "stream": False})
        workers = served.workers()
        assert workers
        began = time.monotonic()
        code = served.stop(signal_number)
        assert time.monotonic() - began < 5
        assert code == 0
        assert not psutil.wait_procs(workers, timeout=5)[1]


def test_a_signal_during_an_answer_ends_it_with_an_error(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.post("/api/generate", {"model": "spark", "stream": False})
        with served.client.stream("POST", "/api/generate", json=endless(served)) as reply:
            lines = lines_of(reply)
            next(lines)
            served.process.send_signal(signal.SIGINT)
            rest = list(lines)
        assert "error" in rest[-1]
        assert served.process.wait(10) == 0


def test_a_client_that_leaves_frees_its_slot(tmp_path: Path) -> None:
    with serving(tmp_path, OLLAMA_NUM_PARALLEL="1") as served:
        served.post("/api/generate", {"model": "spark", "stream": False})
        body = endless(served)
        for _ in range(3):
            with served.client.stream("POST", "/api/generate", json=body) as reply:
                # The reply closes with the iterator over its lines.
                lines = lines_of(reply)
                next(lines)
                assert active(served) == 1
            wait_until(lambda: active(served) == 0, timeout_s=5)
        question = {"model": "spark", "prompt": "Hi", "stream": False, "options": {"temperature": 0}}
        assert served.post("/api/generate", question)["response"]


def test_the_address_can_be_taken_once(served: Served, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="address already in use"):
        with serving(tmp_path, OLLAMA_HOST=served.url):
            pass


def test_a_body_is_json_whatever_its_content_type(served: Served) -> None:
    body = json.dumps({"model": "spark", "prompt": "Hi", "stream": False, "options": {"temperature": 0}})
    for headers in ({"Content-Type": "application/x-www-form-urlencoded"}, {}):
        reply = served.client.post("/api/generate", content=body, headers=headers)
        assert reply.status_code == 200
        assert reply.json()["done"] is True


def test_half_a_request_holds_nobody_up(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as half:
        half.sendall(b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        assert served.client.get("/api/version").status_code == 200


def test_what_is_no_request_is_refused_with_a_line_in_the_log(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(b"no request\r\n\r\n")
        reply = b"".join(iter(lambda: sock.recv(1000), b""))
    assert reply.startswith(b"HTTP/1.1 400 ")
    line = re.compile(r"[-0-9]+ [:0-9,]+ WARNING Invalid HTTP request received\.\n")
    wait_until(lambda: any(line.fullmatch(one) for one in served.log), timeout_s=20)
    kept = served.client.get("/olla/logs").json()
    assert "Invalid HTTP request received." in json.dumps(kept)
