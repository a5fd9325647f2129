"""Every recorded exchange with a real Ollama, asked of the whole server on a real socket.

What differs on purpose stands in `tests/golden/known_differences.toml` and, for people, in
`docs/api-compat.md`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.exchanges import GOLDEN, Answer, ask_all, load, make_models, order
from tests.support.golden import body_differences, differences
from tests.support.live_server import live_server

KNOWN: dict[str, Any] = tomllib.loads((GOLDEN.parent / "known_differences.toml").read_text())
DOCUMENT = Path(__file__).parents[2] / "docs" / "api-compat.md"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("goldens")


@pytest.fixture(scope="module")
def answers(store: Path) -> dict[str, Answer]:
    with live_server(store) as client:
        make_models(client)
        return ask_all(client)


def found(name: str, answer: Answer, store: Path) -> list[str]:
    recorded = load(name)["response"]
    models = str(store / "models")
    result = differences(recorded, answer.response, models)
    if answer.after is not None:
        after = body_differences(recorded["after"], answer.after.body, models)
        result += [f"after.{difference}" for difference in after]
    return result


def covers(path: str, difference: str) -> bool:
    """Whether a difference is at `path` or below it."""
    return re.match(re.escape(path) + r"[.:\[]", difference) is not None


@pytest.mark.parametrize("name", order())
def test_the_answer_is_ollamas(name: str, answers: dict[str, Answer], store: Path) -> None:
    paths = KNOWN.get(name, {}).get("paths", [])
    differing = found(name, answers[name], store)
    assert [
        difference for difference in differing if not any(covers(path, difference) for path in paths)
    ] == []
    assert [path for path in paths if not any(covers(path, difference) for difference in differing)] == []


def test_every_known_difference_belongs_to_an_exchange() -> None:
    assert KNOWN.keys() <= set(order())


def test_the_document_lists_the_same_differences_for_the_same_reasons() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+?) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert dict(rows) == {name: entry["reason"] for name, entry in KNOWN.items()}
