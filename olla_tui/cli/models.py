"""The short commands about models: list, ps, show, stop, cp, rm.

They speak JSON to the server through the blocking client, so that each is over in a tenth of a second.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from olla_tui.cli.addressed import client_settings
from olla_tui.cli.human import human_bytes, human_time, processor
from olla_tui.cli.tables import table
from olla_tui.client.plain import PlainClient
from server.errors import InvalidRequest, NotFound, OllaError

N_ID_CHARS = 12


def connect() -> PlainClient:
    """A client for the server that the settings name."""
    return PlainClient(client_settings().base_url)


def list_models(prefix: str) -> None:
    """Print the models in the store whose names begin with `prefix`, upper and lower case alike."""
    models = connect().call("GET", "/api/tags")["models"]
    now_s = time.time()
    wanted = (model for model in models if model["name"].lower().startswith(prefix.lower()))
    rows = [
        [model["name"], model_id(model), list_size(model), human_time(unix_time(model["modified_at"]), now_s)]
        for model in wanted
    ]
    sys.stdout.write(table(("NAME", "ID", "SIZE", "MODIFIED"), rows))


def list_running(prefix: str) -> None:
    """Print the loaded models whose names begin with `prefix`."""
    sys.stdout.write(running_table(connect(), prefix))


def watch_running(prefix: str, interval: str) -> None:
    """The same again and again until q. Raises: InvalidRequest for an interval that is none."""
    from olla_tui.cli.watch import can_place_cursor, read_interval, watch
    from server.settings import Settings

    interval_s, client = read_interval(interval), connect()
    running_table(client, prefix)  # no server at all is an error, one that goes away later is not

    def draw(_columns: int, _rows: int) -> list[str]:
        try:
            return running_table(client, prefix).splitlines()
        except OllaError as error:
            return [f"{error.message}; asking again"]

    watch(draw, interval_s, screen=can_place_cursor(Settings.load().terminal.get("TERM", "")))


def running_table(client: PlainClient, prefix: str) -> str:
    """The table of `olla ps`."""
    models = client.call("GET", "/api/ps")["models"]
    wanted = (model for model in models if model["name"].startswith(prefix))
    header = ("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL")
    return table(header, list(running_rows(wanted, time.time())))


def running_rows(models: Iterable[dict[str, Any]], now_s: float) -> Iterable[list[str]]:
    """Rows of `olla ps`. Pure."""
    for model in models:
        expires_at = unix_time(model["expires_at"])
        until = human_time(expires_at, now_s)
        if expires_at is not None and expires_at < now_s:
            until = "Stopping..."
        size, size_vram = int(model.get("size", 0)), int(model.get("size_vram", 0))
        yield [
            model["name"],
            model_id(model),
            human_bytes(size),
            processor(size, size_vram),
            str(model.get("context_length", 0)),
            until,
        ]


def model_id(model: dict[str, Any]) -> str:
    """The first digits of the digest, by which people tell models apart."""
    return str(model.get("digest", ""))[:N_ID_CHARS]


def list_size(model: dict[str, Any]) -> str:
    """Size of a model in the store, "-" for one that lies elsewhere."""
    return "-" if model.get("remote_model") else human_bytes(int(model["size"]))


def unix_time(text: str) -> float | None:
    """Unix time of an RFC 3339 text; None for Go's zero time."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text).timestamp()


def show_model(model: str, parts: list[str], *, verbose: bool) -> None:
    """Print all about a model, or one part of it. Raises: InvalidRequest for more than one part."""
    if len(parts) > 1:
        raise InvalidRequest(
            "only one of '--license', '--modelfile', '--parameters', '--system', or '--template' "
            "can be specified"
        )
    info = connect().call("POST", "/api/show", {"model": model, "verbose": verbose})
    if parts:
        text = info.get(parts[0]) or ""
        sys.stdout.write(text if parts[0] in ("system", "template") else f"{text}\n")
        return
    from olla_tui.cli.details import describe_model

    sys.stdout.write(describe_model(info, verbose=verbose))


def stop_model(model: str) -> None:
    """Unload a model; one that is not loaded is no error."""
    try:
        unload(connect(), model)
    except NotFound as error:
        raise InvalidRequest(f'couldn\'t find model "{model}" to stop') from error


def unload(client: PlainClient, model: str) -> None:
    """Have the server unload a model once its requests have ended. Raises: ModelNotFound."""
    client.call("POST", "/api/show", {"model": model})
    client.call("POST", "/api/generate", {"model": model, "keep_alive": 0}, streaming=True)


def copy_model(source: str, destination: str) -> None:
    """Give a model a second name."""
    connect().call("POST", "/api/copy", {"source": source, "destination": destination})
    print(f"copied '{source}' to '{destination}'")


def remove_models(models: list[str]) -> None:
    """Unload and remove models one after the other; the first error ends it."""
    client = connect()
    for model in models:
        try:
            unload(client, model)
        except NotFound:
            pass  # the removal says so
        except OllaError:
            print(f"Warning: unable to stop model '{model}'", file=sys.stderr)
        client.call("DELETE", "/api/delete", {"model": model})
        print(f"deleted '{model}'")
