"""The application over scripted services, on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from server.api.app import ApiSettings, create_app
from tests.support.scripted_services import ScriptedServices
from tests.support.served_app import served


@pytest.fixture
async def services() -> ScriptedServices:
    return ScriptedServices()


@pytest.fixture
async def client(services: ScriptedServices) -> AsyncIterator[httpx.AsyncClient]:
    async with served(create_app(services, ApiSettings(ollama_version="9.9.9"))) as client:
        yield client
