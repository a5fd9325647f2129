"""One server for all clients, and an environment in which they ask nobody else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

# A shell's job in the background ignores SIGINT, and so would each client that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPBACK = {"127.0.0.1", "::1", "localhost", None, ""}
FOREIGN = ("OPENAI_", "ANTHROPIC_", "OLLAMA_HOST", "OLLAMA_API", "LITELLM_", "LANGCHAIN_", "LANGSMITH_")
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LOGFIRE_SEND_TO_LOGFIRE": "false",
    "TOKENIZERS_PARALLELISM": "false",
}


def _refuse_the_network(event: str, values: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = values[0]
    elif event == "socket.connect" and isinstance(values[1], tuple):
        host = values[1][0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if host not in LOOPBACK:
        raise ConnectionRefusedError(f"a test must not ask {host}")


# Clients read these when they are imported.
for _name in [name for name in os.environ if name.startswith(FOREIGN) or name.lower().endswith("_proxy")]:
    del os.environ[_name]
os.environ.update(QUIET)
sys.addaudithook(_refuse_the_network)

from tests.clients.serving import Server, serving  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("served")) as server:
        yield server
