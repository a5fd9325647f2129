"""Kills processes that work on a model store, at random moments, and checks the store after each.

    python bench/store_kill.py [--runs 500] [--workers 3] [--seed 0]

Each run starts workers that upload, create, copy, delete and collect garbage as fast as they can, kills them
all with SIGKILL after 5 to 80 ms, and reads every manifest and blob as `olla fsck` does. At the end an hour
is taken to have passed, garbage is collected, and what is left must be exactly what the models need.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from server.storage.check import check_store
from server.storage.store import ModelStore
from tests.support.store_churn import LONG_AFTER_S, Churn


def start_worker(root: Path, number: int, seed: int) -> int:
    """A process that works until it is killed; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        churn = Churn(root, number, seed=seed)
        while True:
            churn.step()
    except BaseException as error:
        print(f"worker {number} of run {seed}: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)


def run(root: Path, n_workers: int, seed: int, pause_s: float) -> list[str]:
    """One run; what is wrong after it."""
    workers = [start_worker(root, number, seed) for number in range(n_workers)]
    time.sleep(pause_s)  # the moment of the kill is what is drawn at random
    wrong = []
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            wrong.append("a worker missed something that it needed")
    faults = [step.fault for step in check_store(ModelStore(root).paths) if step.fault is not None]
    return wrong + [f"{fault.place}: {fault.what}" for fault in faults]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    n_bad = n_models = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number in range(given.runs):
            wrong = run(root, given.workers, given.seed * given.runs + number, rng.uniform(0.005, 0.08))
            n_bad += bool(wrong)
            for line in wrong:
                print(f"run {number}: {line}")
        store = ModelStore(root)
        shutil.rmtree(store.paths.pins, ignore_errors=True)
        report = store.collect_garbage(now_s=time.time() + LONG_AFTER_S)
        models = store.list_models()
        n_models = len(models)
        needed = {digest for model in models for digest in model.manifest.digests}
        left = {f"sha256:{path.name[7:]}" for path in store.paths.blobs.iterdir()}
        if left != needed or list(store.paths.temporary.iterdir()):
            n_bad += 1
            print("after the last collection the store holds something else than its models need")
    print(
        f"{given.runs} runs, {n_bad} bad; at the end {n_models} models, {len(report.items)} items collected"
    )
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
