"""Converting a model, in a process of its own: `python -P -m server.convert`.

Its job has `files` (paths by name) and `target` (a path), and for an adapter `base`: architecture and heads
of its model. `server.backends.job` says how it is told.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from server.ipc.jobs import Boss

_NICE = 5


def main() -> None:
    """Do one job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the server decides
    boss = Boss(1)
    job = boss.read_job()
    os.nice(_NICE)

    from server.convert.adapter import plan_adapter
    from server.convert.conversion import plan
    from server.errors import OllaError

    try:
        paths = {name: Path(path) for name, path in job["files"].items()}
        conversion = plan_adapter(paths, *job["base"]) if job["base"] else plan(paths)
        boss.tell(size_bytes=conversion.size_bytes)
        with Path(job["target"]).open("wb") as file:
            for n_done in conversion.write(file):
                boss.tell(done=n_done, total=conversion.size_bytes)
    except OllaError as error:
        # Files that do not make a model are the fault of who sent them.
        boss.tell(error=error.message, hint=error.hint, is_request=True)
        sys.exit(1)
    except OSError as error:
        boss.tell(error=(error.strerror or str(error)).lower())
        sys.exit(1)
    boss.tell(ok=True)


if __name__ == "__main__":
    main()
