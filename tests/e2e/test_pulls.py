"""`olla pulls` and `olla list --partials` against a server that pulls."""

from __future__ import annotations

import random
from pathlib import Path

from tests.e2e.conftest import Served, serving, wait_until
from tests.support.registry import served_registry
from tests.support.stores import digest_of

WEIGHTS = random.Random(6).randbytes(1 << 20)


def states(served: Served) -> list[str]:
    return [item["state"] for item in served.client.get("/olla/transfers").json()["transfers"]]


def is_fetched(served: Served) -> bool:
    """Whether the weights, which take for ever at this rate, are being fetched."""
    found = served.client.get("/olla/partials").json()
    return any(item["digest"] == digest_of(WEIGHTS) and item["is_in_use"] for item in found)


def said(served: Served, *words: str) -> str:
    done = served.run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pull_is_paused_limited_thrown_away_and_gone_on_with(tmp_path: Path) -> None:
    with served_registry() as registry, serving(tmp_path, OLLA_TRANSFER_LIMIT="1") as served:
        registry.add_model("me/big", {"model": WEIGHTS})
        model = f"{registry.host}/me/big"
        served.post("/olla/transfers", {"model": model, "insecure": True})
        wait_until(lambda: is_fetched(served))
        assert "(being fetched)" in said(served, "list", "--partials")
        listed = said(served, "pulls")
        assert f"{model}:latest" in listed and "All together at most 1 B/s." in listed

        said(served, "pulls", "pause", model)
        wait_until(lambda: "(being fetched)" not in said(served, "list", "--partials"))
        assert states(served) == ["paused"]
        assert f"olla pull {model}:latest" in said(served, "list", "--partials")
        assert said(served, "pulls", "discard", model).startswith("removed ")
        assert len(said(served, "list", "--partials").splitlines()) == 1

        said(served, "pulls", "limit", "0")
        said(served, "pulls", "resume", "1")
        wait_until(lambda: states(served) == ["done"])
        assert said(served, "list", model).splitlines()[1].startswith(f"{model}:latest")
