from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from server.backends.llamacpp import LlamaCppBackend
from tests.support.fake_backends import Make
from tests.support.fake_engine import Script, command


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes backends on a fake worker; they are closed at the end."""
    made: list[LlamaCppBackend] = []

    def build(script: Script | None = None, **arguments: object) -> LlamaCppBackend:
        def ignore(level: str, text: str) -> None:
            pass

        backend = LlamaCppBackend(
            "fake:1",
            command=command(script),
            **{"on_log": ignore, **arguments},  # type: ignore[arg-type]
        )
        made.append(backend)
        return backend

    yield build
    for backend in made:
        await backend.close()
