from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.backends.process import WorkerProcess, describe_exit, worker_variables
from server.errors import LoadFailed
from server.ipc.messages import Bye
from tests.support.fake_engine import Script, command
from tests.support.until import until


def test_exit_codes_in_words() -> None:
    assert describe_exit(3) == "exit status 3"
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(-200) == "killed by signal 200"


def test_variables_keep_openmp_from_spinning() -> None:
    assert worker_variables()["GOMP_SPINCOUNT"] == "20000"


async def test_worker_says_hello_and_leaves_in_order() -> None:
    worker = await WorkerProcess.spawn(command())
    assert worker.hello is not None
    assert worker.hello.pid == worker.pid
    worker.ask_to_leave()
    assert isinstance(await worker.receive(), Bye)
    assert await worker.receive() is None
    assert await worker.reap() == 0
    assert worker.has_exited


async def test_worker_has_a_session_of_its_own() -> None:
    worker = await WorkerProcess.spawn(command())
    assert os.getsid(worker.pid) == worker.pid != os.getsid(0)
    worker.kill()
    assert await worker.reap() == -9


async def test_process_that_never_speaks_is_a_failed_start() -> None:
    with pytest.raises(LoadFailed, match="exit status 1") as caught:
        await WorkerProcess.spawn((sys.executable, "-c", "import no_such_engine"))
    assert caught.value.hint == (
        "the engine's last lines: ModuleNotFoundError: No module named 'no_such_engine'"
    )


async def test_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    task = asyncio.create_task(WorkerProcess.spawn((sys.executable, "-c", program)))
    await until(lambda: pid_file.exists() and pid_file.read_text() != "")
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_worker_ends_when_its_server_is_killed() -> None:
    program = (
        "import asyncio\n"
        "from server.backends.process import WorkerProcess\n"
        "async def main():\n"
        f"    worker = await WorkerProcess.spawn({command(Script())!r})\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    server.kill()
    server.wait()
    server.stdout.close()
    deadline = time.monotonic() + 10
    while _is_alive(pid):
        assert time.monotonic() < deadline, "the worker outlived its server"


def _is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
