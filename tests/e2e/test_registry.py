"""Pulls and pushes of a server as a process: with a real registry and a real Ollama, and after a kill.

What needs `docker-registry`, Debian's package of the same name, or an Ollama (`OLLAMA_BINARY`, or `ollama` on
the PATH) runs where it is found.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Served, lines_of, serving, wait_until
from tests.e2e.test_shared_store import BINARY, ollama_on
from tests.support.docker_registry import docker_registry, needs_registry
from tests.support.registry import served_registry
from tests.support.stores import digest_of

PART_BYTES = 32 << 20
QUESTION = "What is the capital of Japan?"

needs_ollama = pytest.mark.skipif(
    not BINARY, reason="there is no Ollama: OLLAMA_BINARY is not set and no `ollama` is on the PATH"
)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Host and port of a real registry."""
    with docker_registry(tmp_path) as host:
        yield host


def transfer(client: httpx.Client, path: str, model: str) -> list[str]:
    """The status lines of a pull or push that must succeed."""
    body = {"model": model, "insecure": True}
    with client.stream("POST", path, json=body) as reply:
        lines = list(lines_of(reply))
    assert lines[-1] == {"status": "success"}, lines[-1]
    return [line["status"] for line in lines]


def digests(client: httpx.Client) -> dict[str, str]:
    models = client.get("/api/tags").raise_for_status().json()["models"]
    return {model["name"]: model["digest"] for model in models}


@needs_registry
def test_a_model_goes_to_a_registry_and_comes_back_and_runs(tmp_path: Path, registry: str) -> None:
    model = f"{registry}/me/spark"
    with serving(tmp_path) as served:
        assert served.run("cp", "spark", model).returncode == 0
        pushed = served.run("push", "--insecure", model)
        assert (pushed.returncode, pushed.stderr.split("\n")[-2]) == (0, "success")
        assert served.run("rm", model, "spark").returncode == 0
        answered = served.run("run", "--insecure", "--think=false", model, QUESTION)
        assert answered.returncode == 0, answered.stderr
        assert "Tokyo" in answered.stdout
        assert answered.stderr.startswith("pulling manifest\npulling ")
        again = served.run("pull", "--insecure", model)
        assert (again.returncode, again.stderr.split("\n")[-2]) == (0, "success")
        missing = served.run("pull", "--insecure", f"{registry}/me/nope")
        assert (missing.returncode, missing.stderr) == (
            1,
            "pulling manifest\nError: pull model manifest: file does not exist\n",
        )
        checked = served.run("fsck")
        assert (checked.returncode, checked.stdout) == (0, "The store is whole.\n")


@needs_ollama
def test_ollama_pulls_what_olla_pushed_and_the_other_way_round(tmp_path: Path) -> None:
    home = tmp_path / "ollama"
    home.mkdir()
    with (
        served_registry() as registry,
        serving(tmp_path) as served,
        ollama_on(home / "models", home) as ollama,
    ):
        # Ollama fetches blobs from where another host is named, and from nowhere else.
        registry.redirect = f"http://{registry.host.replace('127.0.0.1', 'localhost')}/elsewhere"
        model = f"{registry.host}/me/spark"
        served.post("/api/copy", {"source": "spark", "destination": model})
        transfer(served.client, "/api/push", model)
        theirs = transfer(ollama, "/api/pull", model)
        assert theirs[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
        back = {"source": model, "destination": f"{model}-back"}
        ollama.post("/api/copy", json=back).raise_for_status()
        transfer(ollama, "/api/push", f"{model}-back")
        served.client.request("DELETE", "/api/delete", json={"model": model}).raise_for_status()
        served.client.request("DELETE", "/api/delete", json={"model": "spark"}).raise_for_status()
        ours = transfer(served.client, "/api/pull", f"{model}-back")
        assert ours[-3:] == theirs[-3:]
        assert digests(served.client)[f"{model}-back:latest"] == digests(ollama)[f"{model}:latest"]


@needs_ollama
def test_what_ollama_has_begun_olla_goes_on_with(tmp_path: Path) -> None:
    home = tmp_path / "ollama"
    home.mkdir()
    weights = random.Random(2).randbytes(4 << 20)
    digest = digest_of(weights)
    blobs = home / "models" / "blobs"
    part = blobs / f"{digest.replace(':', '-')}-partial-0"
    with served_registry() as registry:
        registry.add_model("me/big", {"model": weights})
        registry.redirect = f"http://{registry.host.replace('127.0.0.1', 'localhost')}/elsewhere"
        registry.hold_after = 3 << 20
        model = f"{registry.host}/me/big"
        with ollama_on(home / "models", home) as ollama:
            body = {"model": model, "insecure": True}
            with ollama.stream("POST", "/api/pull", json=body) as reply:
                for line in lines_of(reply):
                    if line.get("digest") == digest and line.get("completed", 0) >= 3 << 20:
                        break
            wait_until(lambda: f'"Completed":{3 << 20}' in part.read_text())
        registry.released.set()
        registry.requests.clear()
        with serving(tmp_path, OLLAMA_MODELS=str(home / "models")) as served:
            (listed,) = served.client.get("/olla/partials").json()
            assert (listed["program"], listed["completed_bytes"]) == ("Ollama", 3 << 20)
            assert transfer(served.client, "/api/pull", model)[-1] == "success"
            assert part.exists()
        ranges = [h["Range"] for _, path, h in registry.requests if digest in path and "Range" in h]
        assert set(ranges) == {f"bytes={3 << 20}-{len(weights) - 1}"}


def test_after_a_kill_at_half_two_parts_at_most_are_fetched_again(tmp_path: Path) -> None:
    weights = random.Random(1).randbytes(4 * PART_BYTES)
    with served_registry() as registry:
        registry.add_model("me/big", {"model": weights})
        model = f"{registry.host}/me/big"
        body = {"model": model, "insecure": True}
        shown = 0
        with (
            serving(tmp_path, OLLA_TRANSFER_LIMIT="40MB/s") as served,
            pytest.raises(httpx.TransportError),
            served.client.stream("POST", "/api/pull", json=body) as reply,
        ):
            for line in lines_of(reply):
                assert line.get("completed", 0) >= shown
                shown = line.get("completed", 0)
                if shown >= len(weights) // 2:
                    served.process.send_signal(signal.SIGKILL)
        assert shown >= len(weights) // 2
        registry.requests.clear()
        with serving(tmp_path) as served:
            transfer(served.client, "/api/pull", model)
            listed = served.client.get("/olla/transfers").json()["transfers"]
            assert [item["state"] for item in listed] == ["done"]
        ranges = [
            headers["Range"].removeprefix("bytes=").split("-")
            for _, path, headers in registry.requests
            if digest_of(weights) in path
        ]
        n_fetched = sum(int(end) - int(start) + 1 for start, end in ranges)
        assert n_fetched - (len(weights) - shown) <= 2 * PART_BYTES


def test_the_stream_of_a_pull_that_was_stopped_by_a_key_says_that_it_resumes(tmp_path: Path) -> None:
    with served_registry() as registry:
        registry.add_model("me/big", {"model": bytes(1 << 20)})
        with serving(tmp_path, OLLA_TRANSFER_LIMIT="1") as served:
            command = [
                sys.executable,
                "-P",
                "-m",
                "olla_tui",
                "pull",
                "--insecure",
                f"{registry.host}/me/big",
            ]
            process = subprocess.Popen(command, env=served.environ, stderr=subprocess.PIPE, text=True)
            try:
                wait_until(lambda: registry.count("GET", "/blobs/") > 0)
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=20)
            finally:
                process.kill()
                process.wait()
            assert process.returncode == 130
            assert errors.endswith("Stopped; pull again to go on from where it stands.\n")
            wait_until(lambda: states(served) == ["cancelled"])


def states(served: Served) -> list[str]:
    listed = json.loads(served.client.get("/olla/transfers").content)["transfers"]
    return [item["state"] for item in listed]
