"""Servers that are measured beside each other, started and asked in one way, and how rounds are summed up.

`Olla`, `Ollama` and `LlamaServer` are context managers: a server on a free port with a home folder of its
own, which ends with the block. All of them answer `ask` with an `Answer`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import socket
import statistics
import string
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_TIMEOUT_S = 60.0
ASK_TIMEOUT_S = 600.0
POLL_S = 0.02
"""Between two looks at a server of another process, which gives no other sign of being up or idle."""
OLLA = [sys.executable, "-P", "-m", "olla_tui"]
BENCH_MODEL = "bench"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_until_answered(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=1) as reply:
                if reply.status == 200:
                    return
        except OSError:
            time.sleep(POLL_S)
    raise SystemExit(f"{url} did not answer in {START_TIMEOUT_S} s")


def post(url: str, body: object) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data), timeout=ASK_TIMEOUT_S) as reply:
        return bytes(reply.read())


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=ASK_TIMEOUT_S) as reply:
        return json.loads(reply.read())


def repack_arguments() -> list[str]:
    """What keeps llama.cpp from repacking weights where its kernels for AMX crash; nothing elsewhere."""
    try:
        has_amx = "amx_tile" in Path("/proc/cpuinfo").read_text()
    except OSError:
        has_amx = False
    return ["--no-repack"] if has_amx else []


def letters(n_tokens: int) -> str:
    """A text of so many tokens of a model of `random_model.py`, where each letter is one."""
    return "".join(random.choices(string.ascii_lowercase + "  ", k=n_tokens))


@dataclass(frozen=True)
class Answer:
    """One streamed answer. Times are those of `time.perf_counter`.

    Attributes:
        stamps: when each piece of text came; a piece may be more than one token.
        n_tokens: as the server counts them.
        record: the last record of the stream.
    """

    sent_s: float
    stamps: Sequence[float]
    n_tokens: int
    text: str
    record: Mapping[str, Any]

    @property
    def first_token_s(self) -> float:
        return self.stamps[0] - self.sent_s

    @property
    def tokens_per_s(self) -> float:
        """From the first token to the last."""
        return (self.n_tokens - 1) / (self.stamps[-1] - self.stamps[0])


class Server(ABC):
    """A server process.

    Attributes:
        name: as the tables show it.
        url: where it listens.
    """

    name = ""
    path = ""
    health = ""

    def __init__(self) -> None:
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._stack = ExitStack()
        self.home = Path(self._stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        command, environ = self.command()
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "HOME": str(self.home), **environ},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until_answered(self.url + self.health, self.process)
            self.ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._stack.close()

    @abstractmethod
    def command(self) -> tuple[list[str], dict[str, str]]:
        """The command line, and variables beside those of this process."""

    @abstractmethod
    def ready(self) -> None:
        """The server answers now: give it what it still needs."""

    @abstractmethod
    def body(self, prompt: str, n_tokens: int, options: Mapping[str, Any], schema: object) -> dict[str, Any]:
        """The request for a completion."""

    def ask(self, prompt: str, n_tokens: int, *, schema: object = None, **options: Any) -> Answer:
        """A greedy completion of the text as it is. `options`: by Ollama's names."""
        sent_s = time.perf_counter()
        pairs = list(self._lines(self.body(prompt, n_tokens, options, schema)))
        records = [json.loads(line.removeprefix(b"data: ")) for _, line in pairs]
        return self.answer(sent_s, [stamp for stamp, _ in pairs], records)

    def watch(self, prompt: str, n_tokens: int) -> Generator[float, None, None]:
        """The time of each record of a completion. The request is cancelled by closing the iterator."""
        for stamp, _ in self._lines(self.body(prompt, n_tokens, {}, None)):
            yield stamp

    def _lines(self, body: object) -> Iterator[tuple[float, bytes]]:
        request = urllib.request.Request(self.url + self.path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=ASK_TIMEOUT_S) as reply:
            for line in reply:
                if len(line) > 2:
                    yield time.perf_counter(), line

    @abstractmethod
    def answer(self, sent_s: float, stamps: list[float], records: list[dict[str, Any]]) -> Answer:
        """What the records of a completion say, each with the time at which it came."""


def wait_until_unloaded(url: str) -> None:
    """Returns when a server with Ollama's API has no model loaded."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while get(f"{url}/api/ps")["models"]:
        if time.monotonic() > deadline_s:
            raise SystemExit(f"{url} did not unload its model in {START_TIMEOUT_S} s")
        time.sleep(POLL_S)


class OllamaApi(Server):
    """What has Ollama's API: the model is `BENCH_MODEL`, made of a file, or another by its name."""

    path = "/api/generate"
    health = "/api/version"

    def __init__(
        self,
        program: list[str],
        model: Path | None = None,
        *,
        n_slots: int = 0,
        n_ctx: int = 2048,
        template: Path | None = None,
        draft: Path | None = None,
        environ: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """`n_slots`: 0 leaves them to the server. `defaults`: options of each request.

        `draft`: a draft model's file.
        """
        super().__init__()
        self._program = program
        self._model = model
        self._template = template
        self._draft = draft
        self._defaults = {"num_ctx": n_ctx, **(defaults or {})}
        self._environ = dict(environ or {})
        if n_slots:
            self._environ["OLLAMA_NUM_PARALLEL"] = str(n_slots)

    def command(self) -> tuple[list[str], dict[str, str]]:
        environ = {"OLLAMA_HOST": f"127.0.0.1:{self._port}", "OLLAMA_NO_CLOUD": "1", **self._environ}
        return [*self._program, "serve"], environ

    def ready(self) -> None:
        if self._model is None:
            return
        body = {"model": BENCH_MODEL, "files": {"bench.gguf": self._sent(self._model)}, "stream": False}
        if self._draft is not None:
            body["draft_files"] = {"draft.gguf": self._sent(self._draft)}
        if self._template is not None:
            body["template"] = self._template.read_text()
        post(f"{self.url}/api/create", body)

    def _sent(self, path: Path) -> str:
        """The digest of a file that the server now has."""
        data = path.read_bytes()
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        post(f"{self.url}/api/blobs/{digest}", data)
        return digest

    def body(self, prompt: str, n_tokens: int, options: Mapping[str, Any], schema: object) -> dict[str, Any]:
        merged = {"temperature": 0, "num_predict": n_tokens, **self._defaults, **options}
        body = {"model": BENCH_MODEL, "prompt": prompt, "raw": True, "options": merged}
        return body if schema is None else {**body, "format": schema}

    def answer(self, sent_s: float, stamps: list[float], records: list[dict[str, Any]]) -> Answer:
        last = records[-1]
        if not last.get("done"):
            raise SystemExit(f"{self.name}: {last}")
        text = "".join(record["response"] for record in records)
        shown = [stamp for stamp, record in zip(stamps, records, strict=True) if not record["done"]]
        return Answer(sent_s, shown or stamps, last["eval_count"], text, last)

    def unload(self) -> None:
        """Returns when no model is loaded."""
        post(f"{self.url}/api/generate", {"model": BENCH_MODEL, "keep_alive": 0, "stream": False})
        wait_until_unloaded(self.url)


class Olla(OllamaApi):
    """`olla serve` of this checkout. Without `drafts` tokens are decoded one by one."""

    name = "olla"

    def __init__(self, model: Path | None = None, *, drafts: bool = False, **more: Any) -> None:
        plain: dict[str, Any] = {} if drafts else {"draft_num_predict": 0}
        defaults = {"ignore_eos": True, **plain, **more.pop("defaults", {})}
        super().__init__(OLLA, model, defaults=defaults, **more)

    def body(self, prompt: str, n_tokens: int, options: Mapping[str, Any], schema: object) -> dict[str, Any]:
        # It then tells in the last line how many tokens of the prompt it had in memory.
        return {**super().body(prompt, n_tokens, options, schema), "olla": {"details": True}}


class Ollama(OllamaApi):
    """A real Ollama. It knows no `ignore_eos`."""

    name = "ollama"

    def __init__(self, binary: Path, model: Path | None = None, **more: Any) -> None:
        environ = {"LLAMA_ARG_NO_REPACK": "1"} if repack_arguments() else {}
        super().__init__([str(binary)], model, environ={**environ, **more.pop("environ", {})}, **more)


class LlamaServer(Server):
    """llama-server with its own completion route. `arguments`: more of the command line."""

    name = "llama-server"
    path = "/completion"
    health = "/health"

    def __init__(
        self,
        binary: Path,
        model: Path,
        *,
        n_slots: int = 1,
        n_ctx: int = 2048,
        arguments: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._command = [str(binary), "-m", str(model), "--port", str(self._port), "-np", str(n_slots)]
        self._command += ["-c", str(n_ctx * n_slots), *repack_arguments(), *arguments]
        self._library = str(binary.parent)

    def ready(self) -> None:
        """It was started with its model."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        return self._command, {"LD_LIBRARY_PATH": self._library}

    def body(self, prompt: str, n_tokens: int, options: Mapping[str, Any], schema: object) -> dict[str, Any]:
        body = {"prompt": prompt, "n_predict": n_tokens, "temperature": 0, "ignore_eos": True, **options}
        if schema is not None:
            body["json_schema"] = schema
        return {**body, "stream": True, "cache_prompt": True}

    def answer(self, sent_s: float, stamps: list[float], records: list[dict[str, Any]]) -> Answer:
        last = records[-1]
        if not last.get("stop"):
            raise SystemExit(f"{self.name}: {last}")
        text = "".join(record["content"] for record in records)
        return Answer(sent_s, stamps[:-1] or stamps, last["tokens_predicted"], text, last)


# Several clients, rounds and tables.


def ask_at_once(calls: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """The answers of clients that ask at the same time."""
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run(call: Callable[[], Answer]) -> None:
        try:
            answers.append(call())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return answers


Figures = dict[str, float]
"""By name, the unit at its end."""


def rounds_of(
    measures: Mapping[str, Callable[[], Figures]],
    n_rounds: int,
    *,
    title: str = "",
    until_s: float = math.inf,
    warms_up: bool = True,
) -> list[dict[str, Figures]]:
    """Measure each in turn, every other round in the opposite order, after one round that does not count.

    `warms_up`: False where that round is of no use, since each measure starts afresh.
    `until_s`: time on `time.monotonic` that a round must be expected to end before, or it does not begin.
    """
    begun_s = time.monotonic()
    if warms_up:
        for measure in measures.values():
            measure()
    rounds: list[dict[str, Figures]] = []
    for number in range(n_rounds):
        now_s = time.monotonic()
        if now_s + (now_s - begun_s) / max(number + warms_up, 1) > until_s:
            print(f"  {title}: no time for round {number}", flush=True)
            break
        names = list(measures) if number % 2 == 0 else list(measures)[::-1]
        rounds.append({name: measures[name]() for name in names})
        shown = "  ".join(
            f"{name} " + " ".join(f"{value:.4g}" for value in rounds[-1][name].values()) for name in measures
        )
        print(f"  {title} round {number}: {shown}", flush=True)
    return rounds


def print_table(title: str, rounds: Sequence[Mapping[str, Figures]]) -> None:
    """A Markdown table: medians, and median and range of the rounds' ratios of the first to the others."""
    first, *others = rounds[0]
    print(f"\n| {title} | {first} | " + " | ".join(f"{name} | {first} / {name}" for name in others) + " |")
    print("| --- " * (2 + 2 * len(others)) + "|")
    for figure in rounds[0][first]:
        cells = [figure, f"{statistics.median(one[first][figure] for one in rounds):.4g}"]
        for name in others:
            ratios = [one[first][figure] / one[name][figure] for one in rounds if one[name][figure]]
            cells.append(f"{statistics.median(one[name][figure] for one in rounds):.4g}")
            cells.append(f"{statistics.median(ratios):.3f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print("| " + " | ".join(cells) + " |")
    print(flush=True)


def arguments(description: str | None, *, n_rounds: int = 5) -> argparse.ArgumentParser:
    """A parser with what all of these scripts take."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--llama-server", type=Path, help="a llama-server of the same llama.cpp")
    parser.add_argument("--ollama", type=Path, help="a real Ollama's binary")
    parser.add_argument("--rounds", type=int, default=n_rounds)
    return parser
