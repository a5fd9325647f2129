"""`olla bench`: how fast a model answers on this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from urllib.parse import urlsplit

from olla_tui.cli.addressed import client_settings
from olla_tui.cli.bench_figures import as_json, as_text
from olla_tui.cli.progress import Progress
from olla_tui.cli.run import find_model
from olla_tui.client.bench import Bench, BenchFlags
from olla_tui.client.bench_figures import Figures
from olla_tui.client.launch import LOCAL_HOSTS, ensure_server
from olla_tui.client.remote import RemoteServices
from server.errors import CapabilityMissing, InvalidRequest
from server.settings import Settings


def bench_model(model: str, flags: BenchFlags) -> None:
    """Measure and print. Raises: ModelNotFound, InvalidRequest, EngineError."""
    if flags.format not in ("", "json"):
        raise InvalidRequest(f"--format {flags.format} is not known; 'json' or nothing is")
    if min(*flags.clients, flags.n_prompt, flags.n_predict, flags.n_rounds) < 1:
        raise InvalidRequest("--clients, --prompt, --predict and --rounds take numbers from 1 on")
    settings = client_settings()
    ensure_server(settings)
    figures = asyncio.run(_bench(settings, model, flags))
    sys.stdout.write(json.dumps(as_json(figures), indent=2) + "\n" if flags.format else as_text(figures))


def read_clients(text: str) -> tuple[int, ...]:
    """Value of `--clients`: "1,8". Raises: InvalidRequest."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidRequest(
            f"--clients takes numbers with commas between, such as 1,8, not {text!r}"
        ) from None


async def _bench(settings: Settings, model: str, flags: BenchFlags) -> Figures:
    services = RemoteServices.at(settings.base_url)
    try:
        info = await find_model(services, model, pulls=False)
        if "completion" not in info.capabilities:
            raise CapabilityMissing(f"{model} does not generate text, and olla bench measures that")
        async with Progress(sys.stderr) as progress:
            bench = Bench(services, info, model, flags, progress.step)
            return await bench.run(is_local=(urlsplit(settings.base_url).hostname or "") in LOCAL_HOSTS)
    finally:
        await services.aclose()
