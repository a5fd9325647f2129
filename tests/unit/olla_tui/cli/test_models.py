"""The short commands against a server: what they ask, print and say when it goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from olla_tui.cli.main import run_command
from tests.support.json_server import JsonServer, Reply


def model(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "digest": "0123456789abcdef",
        "size": 6_270_880,
        "modified_at": (datetime.now(UTC) - timedelta(hours=3)).isoformat(),
        **more,
    }


def running(name: str, **more: Any) -> dict[str, Any]:
    expires = (datetime.now(UTC) + timedelta(minutes=4, seconds=30)).isoformat()
    return model(name, size_vram=0, context_length=2048, expires_at=expires, **more)


MISSING = Reply(404, {"error": "model 'x' not found"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JsonServer]:
    with JsonServer({}).running() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


def test_list(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    models = [model("Spark:latest"), model("plain:latest", remote_model="x"), model("other:1")]
    server.replies["GET /api/tags"] = Reply(body={"models": models})
    assert run_command(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "NAME            ID              SIZE      MODIFIED    ",
        "Spark:latest    0123456789ab    6.3 MB    3 hours ago    ",
        "plain:latest    0123456789ab    -         3 hours ago    ",
    ]
    assert run_command(["ls", "sPARK"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_time_that_was_never_set(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies["GET /api/tags"] = Reply(
        body={"models": [model("a:1", modified_at="0001-01-01T00:00:00Z")]}
    )
    assert run_command(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("Never       ")


def test_ps(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    models = [
        running("a:1"),
        {**running("b:1"), "size_vram": 6_270_880, "expires_at": "2318-01-01T00:00:00.123456789Z"},
        {**running("c:1"), "expires_at": "2020-01-01T00:00:00Z"},
    ]
    server.replies["GET /api/ps"] = Reply(body={"models": models})
    assert run_command(["ps"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "NAME    ID              SIZE      PROCESSOR    CONTEXT    UNTIL              ",
        "a:1     0123456789ab    6.3 MB    100% CPU     2048       4 minutes from now    ",
        "b:1     0123456789ab    6.3 MB    100% GPU     2048       Forever               ",
        "c:1     0123456789ab    6.3 MB    100% CPU     2048       Stopping...           ",
    ]
    assert run_command(["ps", "A"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_show_parts(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies["POST /api/show"] = Reply(body={"template": "{{ .Prompt }}", "modelfile": "FROM x"})
    for flag, text in (("--template", "{{ .Prompt }}"), ("--modelfile", "FROM x\n"), ("--license", "\n")):
        assert run_command(["show", "m", flag]) == 0
        assert capsys.readouterr().out == text


def test_show(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies["POST /api/show"] = Reply(body={"details": {"family": "llama"}, "model_info": {}})
    assert run_command(["show", "m", "-v"]) == 0
    assert capsys.readouterr().out.startswith("  Model\n")
    assert server.asked[-1].body == {"model": "m", "verbose": True}


def test_stop(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies |= {"POST /api/show": Reply(body={}), "POST /api/generate": Reply(body={"done": True})}
    assert run_command(["stop", "m"]) == 0
    assert server.asked[-1].body == {"model": "m", "keep_alive": 0}
    server.replies["POST /api/show"] = MISSING
    assert run_command(["stop", "x"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", 'Error: couldn\'t find model "x" to stop\n')


def test_cp(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies["POST /api/copy"] = [Reply(), Reply(404, {"error": 'model "a" not found'})]
    assert run_command(["cp", "a", "b"]) == 0
    assert run_command(["cp", "a", "b"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("copied 'a' to 'b'\n", 'Error: model "a" not found\n')


def test_rm_goes_on_until_the_first_error(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies |= {
        "POST /api/show": [Reply(body={}), Reply(500, {"error": "oh"}), MISSING],
        "POST /api/generate": Reply(body={"done": True}),
        "DELETE /api/delete": [Reply(), Reply(), MISSING],
    }
    assert run_command(["rm", "a", "b", "x", "never"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "deleted 'a'\ndeleted 'b'\n"
    assert captured.err == "Warning: unable to stop model 'b'\nError: model 'x' not found\n"


def test_the_status_stands_before_the_words_of_routes_that_stream(
    server: JsonServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.replies |= {
        "POST /api/show": Reply(body={}),
        "POST /api/generate": Reply(400, {"error": '"m" is busy'}),
    }
    assert run_command(["stop", "m"]) == 1
    assert capsys.readouterr().err == 'Error: 400 Bad Request: "m" is busy\n'


def test_version(server: JsonServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.replies["GET /api/version"] = Reply(
        body={"version": "0.32.0"}, headers=(("olla-version", "9.9.9"),)
    )
    assert run_command(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("olla version is 9.9.9\nWarning: client version is ")
    server.replies.clear()
    assert run_command(["-v"]) == 0
    assert capsys.readouterr().out.startswith("Warning: could not connect to a running olla instance\n")


def test_no_server_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with JsonServer({}).running() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
    assert run_command(["list"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith(f"Error: could not connect to an olla server at {server.url}")
    assert "'olla serve'" in captured.err


def test_a_fault_of_ours_is_one_line_and_its_trace_in_a_file(
    server: JsonServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("OLLA_HOME", str(tmp_path))
    server.replies["GET /api/tags"] = Reply(body={"unexpected": 1})
    assert run_command(["list"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "fault of olla" in captured.err
    trace = (tmp_path / "logs" / "crash.log").read_text()
    assert "KeyError: 'models'" in trace
