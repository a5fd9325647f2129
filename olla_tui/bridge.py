"""Between the services and the screen: pulls snapshots and streams, folds them into the state, tells of it.

Everything here runs on the screen's loop. The server is only ever asked; it never calls. However many tokens
come, the screen hears of at most `frames_per_s` changes a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any, Protocol

from olla_tui.link import LinkRate
from olla_tui.state import pulls
from olla_tui.state.conversation import Conversation
from olla_tui.state.drafts import Draft
from olla_tui.state.requests import is_open
from olla_tui.state.workstation import Part, Workstation
from server.errors import OllaError, ServerUnreachable
from server.services.protocols import Services
from server.types.generation import ChatRequest, Chunk, Completed

log = logging.getLogger("olla.screen")

MODELS_EVERY_S = 5.0
"""The store may change behind the server's back (Ollama writes it too), so it is listed again this often."""
TRANSFERS_EVERY_S = 2.0
"""While nothing is under way that a look at the queue could show."""
HISTORY_EVERY_S = 2.0
"""What devices did is asked for so often, and less often where its slots are longer."""
ANSWER_TIMEOUT_S = 10.0
"""Longest wait for a status answer before the server counts as down."""


class Listener(Protocol):
    """Who hears of changes."""

    def state_changed(self, parts: frozenset[str]) -> None:
        """Parts of the state changed."""
        ...

    def notice(self, text: str, severity: str, hint: str) -> None:
        """Tell the user something."""
        ...

    def chat_ended(self, chat: Conversation) -> None:
        """An answer came to its end, whatever that was."""
        ...


QUIET_BYTES_PER_S = 1000.0
"""Below this a link counts as quiet."""


class Bridge:
    """Keeps a `Workstation` up to date and carries out what the user asks of the services.

    Attributes:
        has_polled: set once the services have been asked for the first time, whatever came of it.
    """

    def __init__(
        self,
        services: Services | None,
        state: Workstation,
        *,
        poll_s: float = 0.4,
        frames_per_s: float = 15.0,
        clock: Callable[[], float] = time.time,
        link: LinkRate | None = None,
    ) -> None:
        self._services = services
        self.state = state
        self.clock = clock
        self._poll_s = poll_s
        self._frame_s = 1 / frames_per_s
        self._link = link
        self._listener: Listener | None = None
        self._dirty: set[str] = set()
        self._flush_handle: asyncio.TimerHandle | None = None
        self._answers: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._models_due_at = 0.0
        self._transfers_due_at = 0.0
        self._wants_logs = False
        self._wants_partials = False
        self._history_window_s = 0
        self._history_due_at = 0.0
        self._woken = asyncio.Event()
        self._told_at = float("-inf")  # on the loop's clock
        self.has_polled = asyncio.Event()

    def set_pace(self, poll_s: float, frames_per_s: float) -> None:
        """Ask every `poll_s` seconds and tell of at most so many changes a second from now on."""
        self._poll_s, self._frame_s = poll_s, 1 / frames_per_s

    # --- polling ---

    @property
    def services(self) -> Services:
        """What is asked. Raises: ServerUnreachable before there are any."""
        if self._services is None:
            raise ServerUnreachable("the server is still starting", hint="Try again in a moment.")
        return self._services

    def connect(self, services: Services) -> None:
        """Ask these from now on."""
        self._services = services

    def start(self, listener: Listener) -> None:
        """Begin to pull; changes go to `listener`."""
        self._listener = listener
        self._keep(asyncio.create_task(self._poll_forever(), name="olla-bridge-poll"))

    async def close(self) -> None:
        """End every task, and close the services; answers under way are stopped."""
        self._listener = None
        tasks = [*self._tasks, *self._answers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        if self._services is not None:
            await self._services.aclose()

    def watch_logs(self, on: bool) -> None:
        """Pull log lines, or leave them where they are while nobody looks."""
        self._wants_logs = on
        if on:
            self._woken.set()

    def watch_partials(self, on: bool) -> None:
        """Look for unfinished downloads, or leave them alone while nobody looks."""
        if on and not self._wants_partials:
            self._transfers_due_at = 0.0
            self._woken.set()
        self._wants_partials = on

    def watch_history(self, window_s: int) -> None:
        """Ask what devices and requests did in the last seconds, again and again; 0: while nobody looks."""
        if window_s and window_s != self._history_window_s:
            self._history_due_at = 0.0
            self._woken.set()
        self._history_window_s = window_s

    def refresh_models(self) -> None:
        """List the store and the queue at the next turn instead of when they are due."""
        self._models_due_at = self._transfers_due_at = 0.0
        self._woken.set()

    async def _poll_forever(self) -> None:
        while True:
            await self.poll_once()
            self._woken.clear()
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def poll_once(self) -> None:
        """One turn: snapshot, then store and log where they are due."""
        state = self.state
        state.now = self.clock()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._ask()
        except TimeoutError:
            self._touch_if(state.fold_failure("the server does not answer"), "status")
        except ServerUnreachable:
            self._touch_if(state.fold_failure("no server answers, asking again"), "status")
        except OllaError as error:
            self._touch_if(state.fold_failure(error.message), "status")
        except (
            Exception
        ):  # a fault of ours in one turn must not end the turns that come; it is logged and shown
            log.exception("the status could not be read")
            self._touch_if(state.fold_failure("the status could not be read; see the log"), "status")
        self._measure_link()
        self.has_polled.set()

    async def _ask(self) -> None:
        """Ask for all that is due, then fold it: what belongs together is told together."""
        state, status, models = self.state, self.services.status, self.services.models
        snapshot = await status.snapshot()
        await self._ask_for_transfers()
        if self._history_window_s and state.now >= self._history_due_at:
            history = await status.history(self._history_window_s)
            self._touch_if(state.fold_history(history), "status")
            self._history_due_at = state.now + max(HISTORY_EVERY_S, history.period_s)
        store = None
        if state.now >= self._models_due_at:
            store = (await models.list_models(), await models.bundled())
        lines = await status.logs(after=state.logs.last_number) if self._wants_logs else ()
        self._touch_if(state.fold_snapshot(snapshot), "status")
        self._count_answer()
        if store is not None:
            self._touch_if(state.fold_models(*store), "models")
            self._models_due_at = state.now + MODELS_EVERY_S
        if lines:
            self._touch_if(state.fold_logs(lines), "logs")

    async def _ask_for_transfers(self) -> None:
        """Ask for the queue where it is due; a model that has come is in the list of the store at once."""
        state, transfers = self.state, self.services.transfers
        if state.now < self._transfers_due_at:
            return
        listed = await transfers.transfers()
        partials = await transfers.partials() if self._wants_partials else None
        ended = pulls.ended_words(state.transfers, listed)
        self._touch_if(state.fold_transfers(listed, partials), "pulls")
        is_busy = any(info.state in pulls.UNDER_WAY for info in listed.transfers)
        self._transfers_due_at = 0.0 if is_busy else state.now + TRANSFERS_EVERY_S
        for sentence, severity in ended:
            self._models_due_at = 0.0
            self._notice(sentence, severity, "")

    def _count_answer(self) -> None:
        """Give the open chat the server's count of its tokens: one chunk may hold several."""
        chat = self.state.chat
        if chat is None or not chat.is_answering:
            return
        for request in self.state.requests:
            if request.route == "chat" and is_open(request) and request.model == chat.model:
                chat.progress(request.n_output_tokens, request.tokens_per_s)
                self._touch("answer")
                return

    def _measure_link(self) -> None:
        if self._link is None:
            return
        rate = self._link.bytes_per_s()
        # Two digits are enough, and keep a still screen still; showing less would itself be what is measured.
        rounded = 0.0 if rate < QUIET_BYTES_PER_S else float(f"{rate:.2g}")
        slow = self._link.is_slow()
        if (rounded, slow) != (self.state.link_bytes_per_s, self.state.slow_link):
            self.state.link_bytes_per_s, self.state.slow_link = rounded, slow
            self._touch("link")

    # --- chats ---

    def send(self, chat: Conversation, draft: Draft) -> None:
        """Ask a question in a chat; the answer arrives by changes of the part "answer".

        While another answer is under way the question waits for its end; it is lost when too many do.
        """
        if chat.is_answering:
            chat.enqueue(draft)
            self.touch("chat")
        elif chat.take(draft, self.clock()):
            self.answer(chat)
        else:
            self._answer_ended(chat)

    def answer(self, chat: Conversation) -> None:
        """Let the model answer the chat as it stands."""
        if chat.id in self._answers:
            return
        request = chat.begin_answer(self.clock())
        task = asyncio.create_task(self._answer(chat, request), name=f"olla-answer-{chat.id}")
        self._answers[chat.id] = task
        # In a callback, because a task that is cancelled before its first step runs none of its own code.
        task.add_done_callback(lambda _: self._answer_ended(chat))
        self._touch("chat", "chats")

    def stop(self, chat: Conversation) -> bool:
        """Stop the answer under way; False when there is none."""
        task = self._answers.get(chat.id)
        return task is not None and task.cancel()

    async def _answer(self, chat: Conversation, request: ChatRequest) -> None:
        try:
            async with aclosing(self.services.inference.chat(request)) as stream:
                async for event in stream:
                    if isinstance(event, Chunk):
                        chat.add(event, self.clock())
                    elif isinstance(event, Completed):
                        chat.complete(event, self.clock())
                    self._touch("answer")
            chat.end_with(OllaError("the answer ended without its last part"), self.clock())
        except OllaError as error:
            chat.end_with(error, self.clock())
        except Exception as error:
            log.exception("an answer failed")
            chat.end_with(OllaError(f"the answer failed: {error}", hint="See the log."), self.clock())

    def _answer_ended(self, chat: Conversation) -> None:
        self._answers.pop(chat.id, None)
        chat.end_with(None, self.clock())
        self._touch("chat", "chats")
        if self._listener is not None:
            self._listener.chat_ended(chat)
            # An answer that was stopped or failed may have changed what the user wants to ask next.
            if chat.queue and chat.turns[-1].state == "done":
                self.send(chat, chat.queue.pop(0))

    # --- orders ---

    def order(self, work: Coroutine[Any, Any, object], done: str = "") -> asyncio.Task[None]:
        """Carry out work in the background; say `done` when it ends well, and why when it does not."""
        task = asyncio.create_task(self._carry_out(work, done))
        self._keep(task)
        return task

    def unload(self, name: str) -> None:
        """Unload a model."""
        self.order(self.services.status.unload(name), f"{name} is unloaded")

    def keep_alive(self, name: str, keep_alive_s: float) -> None:
        """Change how long a model stays loaded."""
        self.order(self.services.status.set_keep_alive(name, keep_alive_s))

    def cancel_request(self, request_id: int) -> None:
        """Cancel a request."""
        self.order(self.services.status.cancel_request(request_id), "the request is cancelled")

    def delete_model(self, name: str) -> None:
        """Delete a model from the store."""
        self.order(self.services.models.delete(name), f"{name} is deleted")

    async def _carry_out(self, work: Coroutine[Any, Any, object], done: str) -> None:
        try:
            await work
        except OllaError as error:
            self._notice(error.message, "error", error.hint)
        except Exception as error:
            log.exception("an order failed")
            self._notice(f"That failed: {error}", "error", "See the log.")
        else:
            if done:
                self._notice(done, "information", "")
        self.refresh_models()

    def tell(self, text: str) -> None:
        """Tell the user something in a toast."""
        self._notice(text, "information", "")

    def _notice(self, text: str, severity: str, hint: str) -> None:
        if self._listener is not None:
            self._listener.notice(text, severity, hint)

    # --- telling ---

    @property
    def has_news(self) -> bool:
        """Whether a change waits to be told, or an order is being carried out."""
        return self._flush_handle is not None or len(self._tasks) > 1

    def touch(self, *parts: Part) -> None:
        """Say that parts of the state changed by the user's own hand; it is told at once."""
        self._told_at = float("-inf")
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._touch(*parts)

    def _touch_if(self, changed: bool, part: Part) -> None:
        if changed:
            self._touch(part)

    def _touch(self, *parts: Part) -> None:
        """Tell at once after a pause, and a frame's time after the last telling otherwise."""
        self._dirty.update(parts)
        if self._flush_handle is None and self._listener is not None:
            loop = asyncio.get_running_loop()
            self._flush_handle = loop.call_at(max(loop.time(), self._told_at + self._frame_s), self._flush)

    def _flush(self) -> None:
        self._flush_handle = None
        self._told_at = asyncio.get_running_loop().time()
        parts, self._dirty = frozenset(self._dirty), set()
        if self._listener is not None and parts:
            self._listener.state_changed(parts)

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
