"""Kills processes that work on a model store, at random moments, and has `olla fsck` check it after each.

    python bench/store_kill.py [--runs 500] [--workers 2] [--pullers 2] [--seed 0]

Workers upload, create, copy, delete and collect garbage as fast as they can; pullers fetch models from a
registry on this machine, two at a time, while others of their threads delete, copy and collect. A server on
the same store goes on all the while. Each run starts them, kills them all with SIGKILL after 5 to 300 ms, and
runs the command `olla fsck`, which has to find nothing. Then an hour is taken to have passed, so that what
the dead held is held no longer. At the end garbage is collected, and what is left must be exactly what the
models need.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))

from msgspec.structs import replace
from peers import free_port, wait_until_answered

from server.errors import ModelNotFound
from server.services.transfers import Transfers
from server.settings import Settings
from server.storage.store import ModelStore
from server.types.names import ModelName
from server.types.transfers import TransferRequest
from tests.support.registry import served_registry
from tests.support.store_churn import LONG_AFTER_S, Churn, weights_of
from tests.support.stores import Recorder
from tests.support.transfers import TUNING

N_REMOTE = 3
"""Models in the registry."""
COMMAND = (sys.executable, "-P", "-m", "olla_tui")


def in_child(work: Callable[[], NoReturn], name: str) -> int:
    """A process that works until it is killed; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    except BaseException as error:
        print(f"{name}: {error!r}", file=sys.stderr, flush=True)
    os._exit(1)


def churn_forever(root: Path, number: int, seed: int) -> NoReturn:
    """What a worker does."""
    churn = Churn(root, number, seed=seed)
    while True:
        churn.step()


def pull_forever(root: Path, host: str, number: int, seed: int) -> NoReturn:
    """What a puller does."""
    rng = random.Random(f"{number} {seed}")
    store = ModelStore(root)
    names = [f"{host}/me/m{number}" for number in range(N_REMOTE)]

    async def pull(transfers: Transfers) -> NoReturn:
        while True:
            await pull_once(transfers, rng.choice(names))

    async def others() -> NoReturn:
        while True:
            await asyncio.sleep(rng.uniform(0, 0.03))
            await asyncio.to_thread(change, store, names, rng)

    async def run() -> None:
        transfers = transfers_into(store)
        await asyncio.gather(pull(transfers), pull(transfers), others())

    asyncio.run(run())
    raise AssertionError("ended by itself")


def transfers_into(store: ModelStore) -> Transfers:
    """A queue of two at a time."""
    folder = store.root.parent
    settings = Settings(
        models_dir=store.root, olla_dir=folder, config_file=folder / "config.toml", key_file=folder / "key"
    )
    return Transfers(store, settings, Recorder(), tuning=replace(TUNING, max_running=2))


async def pull_once(transfers: Transfers, model: str) -> None:
    """Fetch a model. Raises: why it cannot be had."""
    async with aclosing(transfers.pull(TransferRequest(model=model, insecure=True))) as lines:
        async for _ in lines:
            pass


async def warm_up(root: Path, host: str) -> None:
    """Pull once here, so that a process that begins with what is imported here is at work at once."""
    await pull_once(transfers_into(ModelStore(root)), f"{host}/me/m0")


def change(store: ModelStore, names: list[str], rng: random.Random) -> None:
    """Delete or copy a pulled model, or collect what is old enough a month from now, downloads as well."""
    name = ModelName.parse(rng.choice(names))
    try:
        match rng.randrange(6):
            case 0:
                store.delete(name)
            case 1:
                store.copy(name, ModelName.parse(f"m{rng.randrange(4)}"))
            case _:
                age_s = 0 if rng.random() < 0.05 else None
                later_s = LONG_AFTER_S if age_s == 0 else 2 * 3600.0
                store.collect_garbage(age_s, now_s=time.time() + later_s)
    except ModelNotFound:
        return


@contextmanager
def registry(seed: int) -> Iterator[str]:
    """Models on a registry in a process of its own; host and port."""
    reading, writing = os.pipe()

    def serve() -> NoReturn:
        with served_registry() as served:
            shared = random.Random(seed).randbytes(60_000)
            for number in range(N_REMOTE):
                layers = {"model": weights_of(100, number), "license": shared}
                served.add_model(f"me/m{number}", layers)
            os.write(writing, served.host.encode())
            while True:
                signal.pause()

    pid = in_child(serve, "registry")
    try:
        yield os.read(reading, 100).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


@contextmanager
def serving(folder: Path, root: Path) -> Iterator[dict[str, str]]:
    """A server on the store; the environment in which commands find it."""
    url = f"http://127.0.0.1:{free_port()}"
    environ = {**os.environ, "HOME": str(folder), "OLLAMA_MODELS": str(root), "OLLAMA_HOST": url}
    with subprocess.Popen([*COMMAND, "serve"], env=environ, stderr=subprocess.DEVNULL) as server:
        try:
            wait_until_answered(f"{url}/api/version", server)
            yield environ
        finally:
            server.terminate()


def run(works: Mapping[str, Callable[[], NoReturn]], pause_s: float, environ: dict[str, str]) -> list[str]:
    """One run; what is wrong after it."""
    pids = {in_child(work, name): name for name, work in works.items()}
    time.sleep(pause_s)  # the moment of the kill is what is drawn at random
    wrong = []
    for pid, name in pids.items():
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            wrong.append(f"{name} missed something that it needed")
    checked = subprocess.run([*COMMAND, "fsck"], env=environ, capture_output=True, text=True, check=False)
    if (checked.returncode, checked.stdout) != (0, "The store is whole.\n"):
        wrong.append(f"olla fsck: {checked.returncode}\n{checked.stdout}{checked.stderr}")
    return wrong


def forget_the_dead(store: ModelStore) -> None:
    """What an hour does to the holds of clients that live no longer."""
    shutil.rmtree(store.paths.pins, ignore_errors=True)


def remains(store: ModelStore) -> str:
    """What is wrong with a store once garbage is collected in which nobody is at work, "" for nothing."""
    report = store.collect_garbage(now_s=time.time() + LONG_AFTER_S)
    models = store.list_models()
    needed = {digest for model in models for digest in model.manifest.digests}
    left = {f"sha256:{path.name[7:]}" for path in store.paths.blobs.iterdir()}
    print(f"at the end {len(models)} models, {len(report.items)} items collected")
    if left != needed or list(store.paths.temporary.iterdir()) or list(store.paths.partials.glob("*")):
        return "after the last collection the store holds something else than its models need"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pullers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    n_bad = n_in_the_middle = n_pulled = 0
    with tempfile.TemporaryDirectory() as name, registry(given.seed) as host:
        root = Path(name) / "models"
        store = ModelStore(root)
        asyncio.run(warm_up(root, host))
        with serving(Path(name), root) as environ:
            for number in range(given.runs):
                seed = given.seed * 10_000 + number
                works: dict[str, Callable[[], NoReturn]] = {
                    f"worker {i} of run {number}": partial(churn_forever, root, i, seed)
                    for i in range(given.workers)
                }
                for i in range(given.pullers):
                    works[f"puller {i} of run {number}"] = partial(pull_forever, root, host, i, seed)
                wrong = run(works, rng.uniform(0.005, 0.3), environ)
                forget_the_dead(store)
                n_in_the_middle += any(store.paths.partials.glob("*"))
                n_pulled += any(store.paths.manifests.glob("127.0.0.1*"))
                n_bad += bool(wrong)
                for line in wrong:
                    print(f"run {number}: {line}", flush=True)
        if wrong_at_end := remains(store):
            n_bad += 1
            print(wrong_at_end)
    print(
        f"{given.runs} runs, {n_in_the_middle} with a download left in the middle, {n_pulled} with a pulled"
        f" model, {n_bad} bad"
    )
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
