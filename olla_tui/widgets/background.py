"""Work beside the screen's own, of which the latest is what counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from textual.dom import DOMNode

log = logging.getLogger("olla.screen")


def run_latest(node: DOMNode, work: Callable[[], Coroutine[Any, Any, None]], group: str) -> None:
    """Do work on the screen's loop; work of the same group that is under way is cancelled.

    A fault in it is logged, and the screen goes on.
    """

    async def logged() -> None:
        try:
            await work()
        except Exception:
            log.exception("work of the screen failed: %s", group)

    # A coroutine in the place of the function would be left unawaited when the node goes first.
    node.run_worker(logged, exclusive=True, group=group)  # type: ignore[arg-type]
