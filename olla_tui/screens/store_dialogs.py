"""Dialogs about models on disk and on their way: names, limits, and what is lost for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from olla_tui.bridge import Bridge
from olla_tui.state import model_form, pulls, well_known
from olla_tui.state.numbers import bytes_text
from server.types.models import CreateRequest
from server.types.transfers import TransferRequest

if TYPE_CHECKING:
    from textual.screen import Screen


class StoreDialogs:
    """Opens dialogs over a screen; what their answers ask for is done through the bridge."""

    def __init__(self, screen: Screen[None], bridge: Bridge) -> None:
        self._screen = screen
        self._bridge = bridge

    def openers(self) -> dict[str, Callable[[str], object]]:
        """Kind of a dialog, as in `DialogWanted`, to what opens it."""
        return {
            "delete_model": self._delete_model,
            "copy_model": self._copy_model,
            "measure_model": self._measure_model,
            "create_model": self._create_model,
            "pull_model": self._pull_model,
            "limit_transfer": self._limit_transfer,
            "remove_transfer": self._remove_transfer,
        }

    def _delete_model(self, name: str) -> None:
        from olla_tui.screens.confirm import TypedConfirmScreen

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._bridge.delete_model(name)

        model = self._bridge.state.model(name)
        size = bytes_text(model.size_bytes) if model else "its files"
        lines = [
            f"{name} ({size}) will be removed from the store.",
            "Blobs that other models share stay. Type the model's name to confirm.",
        ]
        dialog = TypedConfirmScreen("Delete this model?", lines, name, "Delete")
        self._screen.app.push_screen(dialog, answered)

    def _measure_model(self, current: str) -> None:
        from olla_tui.panes.bench import BenchPane
        from olla_tui.screens.model_picker import model_picker

        def chosen(name: str | None) -> None:
            if name:
                self._screen.query_one(BenchPane).measure(name)

        self._screen.app.push_screen(model_picker(self._bridge.state, current), chosen)

    def _copy_model(self, source: str) -> None:
        from olla_tui.screens.confirm import AskTextScreen

        def answered(text: str | None) -> None:
            if text:
                copied = self._bridge.services.models.copy(source, text)
                self._bridge.order(copied, f"{source} is also called {text}")

        dialog = AskTextScreen(
            f"A second name for {source}",
            "",
            "Copy",
            lines=("The weights stay one file for both names.",),
            placeholder="mine:latest",
            check=lambda text: model_form.copy_problem(text, source),
        )
        self._screen.app.push_screen(dialog, answered)

    def _create_model(self, base: str) -> None:
        from olla_tui.screens.form import FormScreen

        def answered(values: dict[str, str] | None) -> None:
            if values:
                request = model_form.request_of(values)
                self._bridge.order(self._create(request), f"{request.model} is made")

        form = FormScreen(
            "Make a model", model_form.FIELDS, {"base": base}, "Make", check=model_form.form_problem
        )
        self._screen.app.push_screen(form, answered)

    async def _create(self, request: CreateRequest) -> None:
        async with aclosing(self._bridge.services.models.create(request)) as steps:
            async for _ in steps:
                continue

    def _pull_model(self, name: str) -> None:
        from olla_tui.screens.confirm import AskTextScreen

        def answered(text: str | None) -> None:
            if text:
                transfers = self._bridge.services.transfers
                # Who writes the scheme out means it.
                request = TransferRequest(model=text, insecure=text.lower().startswith("http://"))
                self._bridge.order(transfers.start_transfer("pull", request))

        state = self._bridge.state
        stored = {model.name for model in state.models or ()}
        devices = [view.device for view in state.devices]
        known = pulls.suggestions(
            pulls.queue_lines(state.transfers, state.partials),
            [chat.model for chat in state.chats],
            stored,
            devices,
        )
        heard = {listed for listed, _ in known}
        others = well_known.suited(devices, {*stored, *heard}, well_known.MAX_CHOSEN - len(known))
        lines = ["From registry.ollama.ai, or from the host that the name begins with."]
        if known:
            lines += ["", "Heard of here (→ completes):", *suggested_lines(known)]
        if others:
            lines += ["", "That would fit this machine (→ completes):", *suggested_lines(others)]
        dialog = AskTextScreen(
            "Pull a model",
            name,
            "Pull",
            lines=lines,
            placeholder="llama3.2:3b",
            check=pulls.name_problem,
            suggestions=[listed for listed, _ in (*known, *others)],
        )
        self._screen.app.push_screen(dialog, answered)

    def _limit_transfer(self, transfer_id: str) -> None:
        from olla_tui.screens.confirm import AskTextScreen

        def answered(text: str | None) -> None:
            if text is not None and text != "":
                only = int(transfer_id) if transfer_id else None
                limit = self._bridge.services.transfers.limit_transfers(pulls.read_limit(text), only)
                self._bridge.order(limit)

        listed = self._bridge.state.transfers
        chosen = next((info for info in listed.transfers if str(info.id) == transfer_id), None)
        now = chosen.limit_bytes_per_s if chosen else listed.limit_bytes_per_s
        dialog = AskTextScreen(
            f"Limit the {chosen.kind} of {chosen.model}" if chosen else "Limit all transfers together",
            pulls.typed_limit(now),
            "Limit",
            lines=("Bytes a second, such as 500KB/s or 5MB/s; 0 takes the limit away.",),
            placeholder="5MB/s",
            check=pulls.limit_problem,
        )
        self._screen.app.push_screen(dialog, answered)

    def _remove_transfer(self, key: str) -> None:
        from olla_tui.screens.confirm import ChoiceScreen

        state = self._bridge.state
        found = [line for line in pulls.queue_lines(state.transfers, state.partials) if line.key == key]
        if not found:
            return
        line = found[0]

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self._bridge.order(self._remove(line))

        if line.state == "unfinished":
            title, label = "Throw away this download?", "Throw away"
            lost = bytes_text(line.completed_bytes)
            words = [f"{lost} of {line.model or 'a model'} are there and would have to be fetched again."]
        else:
            title, label = f"Stop this {line.kind}?", "Stop"
            words = [line.model, "What has come stays on the disk and can be gone on with."]
        dialog = ChoiceScreen(title, words, (("", "Keep"), ("yes", label)), danger="yes")
        self._screen.app.push_screen(dialog, answered)

    async def _remove(self, line: pulls.PullLine) -> None:
        transfers = self._bridge.services.transfers
        for digest in line.digests:
            await transfers.remove_partial(digest)
        if line.is_under_way:
            await transfers.cancel_transfer(line.transfer_id)


def suggested_lines(known: Sequence[tuple[str, str]]) -> list[str]:
    """Names and what is known of them, in two columns."""
    width = max(len(name) for name, _ in known)
    return [f"  {name:<{width}}  {what}" for name, what in known]
