"""An engine worker as a process: spawn, frames in and out, log lines, end.

Knows frames and exit codes. Does not know models, requests or retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from server.backends.frame_pipe import FramePipe
from server.backends.log_tail import LogTail, hint_of
from server.errors import EngineError, LoadFailed
from server.ipc.framing import encode
from server.ipc.messages import VERSION, FromEngine, Hello, Shutdown, ToEngine
from server.settings import child_environment

READ_BYTES = 256 * 1024
HELLO_TIMEOUT_S = 60.0
"""Longest time from spawn to Hello: imports from a cold disk, and the start of a GPU's driver."""

REAP_TIMEOUT_S = 2.0
"""How long a worker that closed its end of the pipe may take to exit before it is killed."""

DEFAULT_COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "server.engine")
"""`-P` keeps a `server.py` in the working directory from shadowing this package."""


def worker_variables() -> Mapping[str, str]:
    """What a worker's environment adds to ours.

    GOMP_SPINCOUNT keeps OpenMP's threads from spinning while another process needs the core;
    GGML_NO_BACKTRACE keeps ggml from forking a debugger when it aborts;
    GLIBC_TUNABLES puts weights and caches into huge pages, see `server.engine.huge_pages`.
    """
    return {
        "GOMP_SPINCOUNT": "20000",
        "GGML_NO_BACKTRACE": "1",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    }


def describe_exit(exit_code: int) -> str:
    """An exit code in words; asyncio reports death by signal n as -n."""
    if exit_code >= 0:
        return f"exit status {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


class WorkerProcess:
    """A worker that has said Hello. It leaves by itself when our end of its stdin closes, however we die."""

    def __init__(self, process: asyncio.subprocess.Process, output: FramePipe, log: LogTail) -> None:
        self._process = process
        self._output = output
        self._log_task = asyncio.create_task(self._drain_log())
        self.log = log
        self.hello: Hello | None = None

    @classmethod
    async def spawn(
        cls, command: Sequence[str], on_line: Callable[[str], None] | None = None
    ) -> WorkerProcess:
        """Start a worker and wait for its Hello. Cancelling the call kills it. Raises: LoadFailed."""
        output = FramePipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=output.write_fd,
                stderr=asyncio.subprocess.PIPE,
                env=child_environment(worker_variables()),
                limit=READ_BYTES,
                start_new_session=True,  # a Ctrl-C in our terminal is ours alone
            )
        except BaseException as error:
            output.close()
            if not isinstance(error, OSError):
                raise
            raise LoadFailed(
                f"the engine cannot be started: {error}", hint=f"command: {command[0]}"
            ) from error
        output.begin()
        worker = cls(process, output, LogTail(on_line))
        try:
            await worker._greet()
        except BaseException:
            worker.kill()
            await worker.reap()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def has_exited(self) -> bool:
        """Whether the process is known to have ended."""
        return self._process.returncode is not None

    def send(self, message: ToEngine) -> None:
        """Queue a message; never waits. To a worker that is gone it is dropped: `receive` tells of it."""
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.write(encode(message))

    async def receive(self) -> FromEngine | None:
        """The next message, or None at the end of the stream. Raises: BrokenFrame."""
        return await self._output.receive()

    async def deliver(self, sink: Callable[[FromEngine], None]) -> None:
        """Hand each message to `sink` as it arrives; returns at the end of the stream.

        Raises: BrokenFrame, and what `sink` raises.
        """
        await self._output.deliver(sink)

    def kill(self) -> None:
        """End the process at once; `reap` then returns soon."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def ask_to_leave(self) -> None:
        """Send Shutdown and close the worker's stdin; an idle worker then exits at once."""
        self.send(Shutdown())
        self._close_stdin()

    async def reap(self) -> int:
        """Wait for the end of a process that closed its stdout, was killed or asked to leave.

        Kills it when it takes longer than `REAP_TIMEOUT_S`. Returns its exit code. Nothing else may be in
        `receive` or `deliver` meanwhile. Afterwards `log` is complete.
        """
        try:
            async with asyncio.timeout(REAP_TIMEOUT_S):
                await self._process.wait()
        except BaseException as reason:
            self.kill()
            if not isinstance(reason, TimeoutError):
                raise
            await self._process.wait()
        with contextlib.suppress(TimeoutError):  # a grandchild may hold a pipe open
            async with asyncio.timeout(REAP_TIMEOUT_S):
                await self._output.drain()
                await self._log_task
        self._output.close()
        self._close_stdin()
        return self._process.returncode or 0

    async def _greet(self) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                first = await self.receive()
        except TimeoutError as error:
            raise LoadFailed(f"the engine did not start within {HELLO_TIMEOUT_S:.0f} s") from error
        if first is None:
            exit_code = await self.reap()
            raise LoadFailed(
                f"the engine did not start ({describe_exit(exit_code)})", hint=hint_of(self.log.text)
            )
        if not isinstance(first, Hello):
            raise EngineError(f"the engine's first message is {type(first).__name__}, not Hello")
        if first.version != VERSION:
            raise LoadFailed(
                f"the engine speaks version {first.version} of the protocol, the server version {VERSION}",
                hint="reinstall olla so that both come from one version",
            )
        self.hello = first

    async def _drain_log(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # spawned with a pipe
        while data := await stderr.read(READ_BYTES):
            self.log.feed(data)
        self.log.finish()

    def _close_stdin(self) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.is_closing():
            stdin.close()
