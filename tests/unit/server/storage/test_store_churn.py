"""What is referenced or in flight stays: any sequence of operations, many threads, killed processes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.errors import ModelNotFound
from server.storage.check import check_store
from server.storage.manifests import Layer, encode_manifest
from server.storage.partials import PartialFile, list_partials, open_partial
from server.storage.paths import StorePaths
from server.storage.pulled import add_blob, hold_blobs, remove_unused, write_manifest
from server.storage.store import ModelStore
from server.types.names import ModelName
from tests.support.store_churn import CONFIG, LONG_AFTER_S, Churn, weights_of
from tests.support.stores import digest_of

NAMES = st.sampled_from(["a", "b", "c"])
DATA = st.sampled_from([weights_of(9, number)[:300] for number in range(4)])
SIDE = st.sampled_from([0, 1])


class StoreModel(RuleBasedStateMachine):
    """A store that two servers and an Ollama use, with uploads and pulls, beside what must be in it.

    Time passes by setting the times of files back, so that only references, pins and signs of work protect.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.stores = [ModelStore(self.root), ModelStore(self.root)]
        self.paths = self.stores[0].paths
        self.needs: dict[str, frozenset[str]] = {}
        self.in_flight: Counter[str] = Counter()  # uploads by digest that no create has used
        self.pulls: dict[str, PartialFile] = {}  # under way, by digest
        self.held: dict[str, str] = {}  # what a pull of a name needs
        self.there: set[str] = set()  # of that, what has come
        self.is_ollama_busy = False

    def teardown(self) -> None:
        for pull in self.pulls.values():
            pull.close()
        shutil.rmtree(self.root)

    def _learn(self, name: str) -> None:
        model = self.stores[0].find(ModelName.parse(name))
        self.needs[name] = model.manifest.digests

    @rule(data=DATA, side=SIDE)
    def upload(self, data: bytes, side: int) -> None:
        digest = digest_of(data)
        store = self.stores[side]
        if not store.hold_blob(digest):
            with store.open_blob_writer() as writer:
                writer.write(data)
                store.pin(digest)
                writer.commit(digest)
        self.in_flight[digest] += 1
        self._came(digest)

    @rule(name=NAMES, side=SIDE, data=DATA, system=st.sampled_from([b"", b"one", b"two"]))
    def create(self, name: str, side: int, data: bytes, system: bytes) -> None:
        self._create(name, side, data, system)

    @rule(name=NAMES, side=SIDE, data=DATA)
    def a_model_comes_and_goes(self, name: str, side: int, data: bytes) -> None:
        """Others that have uploaded the same are still to create theirs."""
        if self.in_flight[digest_of(data)]:
            self._create(name, side, data, b"")
            self.stores[side].delete(ModelName.parse(name))
            del self.needs[name]

    def _create(self, name: str, side: int, data: bytes, system: bytes) -> None:
        digest = digest_of(data)
        if not self.in_flight[digest]:
            return
        store = self.stores[side]
        with store.changing():
            layers = [Layer("model", digest, len(data))]
            if system:
                layers.append(Layer("system", store.put_bytes(system).digest, len(system)))
            store.write_model(ModelName.parse(name), CONFIG, layers)
            store.unpin([digest])
        self.in_flight[digest] -= 1
        self._learn(name)

    @rule(name=NAMES, data=DATA, side=SIDE)
    def pull_begins(self, name: str, data: bytes, side: int) -> None:
        """Or goes on with what is there, or waits for one that fetches the same."""
        digest = digest_of(data)
        if name in self.held:
            return
        missing = hold_blobs(self.stores[side], [Layer("model", digest, len(data))], name)
        self.held[name] = digest
        if not missing:
            self.there.add(digest)
        elif digest not in self.pulls:
            opened = open_partial(self.paths, digest, len(data), name)
            assert opened is not None
            self.pulls[digest] = opened
            opened.write_at(memoryview(data)[:100], 0)
            opened.save(((0, 100),))

    @rule(name=NAMES, side=SIDE)
    def pull_breaks_off(self, name: str, side: int) -> None:
        if (digest := self.held.pop(name, None)) is not None:
            self.stores[side].unpin([digest], name)
            self._let_go(digest)

    @rule(data=DATA, side=SIDE)
    def pull_has_its_blob(self, data: bytes, side: int) -> None:
        """Its manifest comes later; until then nothing but what holds the blob says that it is needed."""
        if (pull := self.pulls.pop(digest_of(data), None)) is not None:
            pull.write_at(memoryview(data)[100:], 100)
            add_blob(self.stores[side], pull)
            pull.close()
            self.there.add(pull.digest)

    @rule(name=NAMES, side=SIDE)
    def pull_ends(self, name: str, side: int) -> None:
        store, digest = self.stores[side], self.held.get(name, "")
        if digest not in self.there:
            return
        config = Layer("config", store.put_bytes(b"{}").digest, 2)
        assert hold_blobs(store, [config], name) == {}
        size = self.paths.blob(digest).stat().st_size
        raw = encode_manifest(config, (Layer("model", digest, size),))
        remove_unused(store, write_manifest(store, ModelName.parse(name), raw, name).unused)
        del self.held[name]
        self.needs[name] = frozenset({digest, config.digest})
        self._let_go(digest)

    def _let_go(self, digest: str) -> None:
        if digest not in self.held.values():
            self.there.discard(digest)
            if (pull := self.pulls.pop(digest, None)) is not None:
                pull.close()

    @rule(name=NAMES, data=DATA)
    def ollama_creates(self, name: str, data: bytes) -> None:
        """Blobs first, the manifest later, neither lock nor pin."""
        config = b"{}"
        for blob in (data, config):
            path = self.paths.blob(digest_of(blob))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(blob)
            self._came(digest_of(blob))
        manifest = self.paths.manifest(ModelName.parse(name))
        manifest.parent.mkdir(parents=True, exist_ok=True)
        layers = (Layer("model", digest_of(data), len(data)),)
        manifest.write_bytes(encode_manifest(Layer("config", digest_of(config), len(config)), layers))
        self.needs[name] = frozenset({digest_of(data), digest_of(config)})

    @rule(name=NAMES, side=SIDE)
    def delete(self, name: str, side: int) -> None:
        if name in self.needs:
            self.stores[side].delete(ModelName.parse(name))
            del self.needs[name]
        else:
            with pytest.raises(ModelNotFound):
                self.stores[side].delete(ModelName.parse(name))

    @rule(source=NAMES, destination=NAMES, side=SIDE)
    def copy(self, source: str, destination: str, side: int) -> None:
        if source in self.needs:
            self.stores[side].copy(ModelName.parse(source), ModelName.parse(destination))
            self.needs[destination] = self.needs[source]

    @rule(is_busy=st.booleans())
    def ollama_downloads(self, is_busy: bool) -> None:
        partial = self.paths.blobs / f"sha256-{'a' * 64}-partial"
        if is_busy:
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(b"x")
        else:
            partial.unlink(missing_ok=True)
        self.is_ollama_busy = is_busy

    @rule(side=SIDE, age_s=st.sampled_from([None, 0.0, 600.0]))
    def collect(self, side: int, age_s: float | None) -> None:
        self._let_time_pass()
        before = {path.name for path in self.paths.blobs.glob("*")}
        told = self.stores[1 - side].collect_garbage(age_s, dry_run=True)
        report = self.stores[side].collect_garbage(age_s)
        assert [item.name for item in told.items] == [item.name for item in report.items]
        after = {path.name for path in self.paths.blobs.glob("*")}
        assert before - after == {
            Path(item.name).name for item in report.items if item.name.startswith("blobs/")
        }
        if not (self.is_ollama_busy or self.pulls) and self.paths.manifests.is_dir():
            wanted = self._wanted()
            assert {f"sha256:{name[7:]}" for name in after} == wanted

    @rule(side=SIDE)
    def restart(self, side: int) -> None:
        self._let_time_pass()
        self.stores[side] = ModelStore(self.root)
        self.stores[side].prune()

    @invariant()
    def everything_that_is_needed_is_there(self) -> None:
        for digest in self._wanted():
            assert self.paths.blob(digest).is_file()
        listed = {pull.digest for pull in list_partials(self.paths) if pull.is_in_use}
        assert listed == set(self.pulls)
        faults = [step.fault for step in check_store(self.paths) if step.fault is not None]
        assert [fault for fault in faults if fault.severity == "error"] == []

    def _came(self, digest: str) -> None:
        if digest in self.held.values():
            self.there.add(digest)

    def _wanted(self) -> set[str]:
        return set().union(+self.in_flight, self.there, *self.needs.values())

    def _let_time_pass(self) -> None:
        """Two hours for every blob, and a month for downloads, be they forgotten or only slow.

        An Ollama's that runs is written to all the while.
        """
        then = time.time() - 7200
        for path in self.paths.partials.glob("sha256-*"):
            os.utime(path, (then - LONG_AFTER_S, then - LONG_AFTER_S))
        for path in self.paths.blobs.glob("sha256-*"):
            if not path.name.endswith("-partial"):
                os.utime(path, (then, then))


TestStoreModel = StoreModel.TestCase
TestStoreModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_many_threads_at_once(tmp_path: Path) -> None:
    start = threading.Barrier(4)

    def work(number: int) -> int:
        churn = Churn(tmp_path, number, seed=1)
        start.wait()
        for _ in range(20):
            churn.step()
        return churn.n_made

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) > 0
    assert [step.fault for step in check_store(tmp_paths(tmp_path)) if step.fault] == []


def tmp_paths(root: Path) -> StorePaths:
    return ModelStore(root).paths


def in_child(work: Callable[[], None]) -> int:
    """Run in a forked process that never comes back; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
    finally:
        os._exit(1)


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment_the_store_is_whole(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    Churn(tmp_path, 0, seed=seed).create()
    for run in range(3):
        children = [in_child(partial(forever, tmp_path, n, 10 * seed + run)) for n in range(2)]
        threading.Event().wait(rng.uniform(0.005, 0.08))
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        store = ModelStore(tmp_path)
        assert [step.fault for step in check_store(store.paths) if step.fault] == []
    shutil.rmtree(store.paths.pins)  # an hour has passed for those whose client is dead
    store.collect_garbage(now_s=time.time() + LONG_AFTER_S)
    assert list(store.paths.temporary.iterdir()) == []
    needed = set().union(*(model.manifest.digests for model in store.list_models()))
    assert {f"sha256:{path.name[7:]}" for path in store.paths.blobs.iterdir()} == needed


def forever(root: Path, number: int, seed: int) -> None:
    churn = Churn(root, number, seed=seed)
    while True:
        churn.step()
