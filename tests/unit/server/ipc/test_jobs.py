"""The child's side of a job: it never outlives the process that wanted the work."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]

WORK = (
    "import signal\n"
    "from server.ipc.jobs import Boss\n"
    "boss = Boss(1)\n"
    "boss.tell(job=boss.read_job())\n"
    "signal.pause()"
)
START = (
    "import os, signal, subprocess, sys\n"
    "from subprocess import PIPE\n"
    f"child = subprocess.Popen([sys.executable, '-c', {WORK!r}], stdin=PIPE, stdout=PIPE)\n"
    "child.stdin.write(b'{\"n\": 1}\\n'); child.stdin.flush()\n"
    "print(child.stdout.readline().decode(), end='', flush=True)\n"
    "os.kill(os.getpid(), signal.SIGKILL)"
)


def test_work_ends_with_the_process_that_wanted_it() -> None:
    # The worker holds the other end of standard error: that ends with it, and only with it.
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == '{"job": {"n": 1}}\n'
    assert done.stderr == ""


def test_nobody_who_tells_a_job_is_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORK], input="", capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
