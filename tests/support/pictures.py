"""Pictures of a running screen in several themes, compared with those that were accepted."""

from __future__ import annotations

import inspect
import pickle
from typing import Any

import pytest
from pytest_textual_snapshot import PseudoApp, PseudoConsole, SVGImageExtension, node_to_report_path
from rich.console import Console
from syrupy.assertion import SnapshotAssertion


class Pictures:
    """Compares pictures of one test; those that differ stand in the report, as `snap_compare` has it."""

    def __init__(self, snapshot: SnapshotAssertion, node: Any) -> None:
        self._snapshot = snapshot.use_extension(SVGImageExtension)
        self._node = node

    def same(self, svg: str, name: str = "") -> bool:
        """Whether a picture is the accepted one of that name."""
        accepted = self._snapshot(name=name) if name else self._snapshot
        result = accepted == svg
        self._report(result, str(accepted), svg, name)
        return result

    def _report(self, result: bool, expected: str, svg: str, name: str) -> None:
        console = Console(legacy_windows=False, force_terminal=True)
        size = PseudoConsole(console.legacy_windows, console.size)
        path, line, title = self._node.reportinfo()
        doc = inspect.getdoc(self._node.function) or ""
        shown = f"{title} {name}".strip()
        data = (result, expected, svg, PseudoApp(size), path, line, shown, doc, "", bool(expected))
        at = node_to_report_path(self._node)
        at.with_name(f"{at.name}_{name}").write_bytes(pickle.dumps(data))


@pytest.fixture
def pictures(snapshot: SnapshotAssertion, request: pytest.FixtureRequest) -> Pictures:
    """The accepted pictures of this test."""
    return Pictures(snapshot, request.node)


__all__ = ["Pictures", "pictures"]
