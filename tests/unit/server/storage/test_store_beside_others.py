"""Many threads, processes and programs at one store: what is needed or in the making stays."""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.errors import ModelNotFound
from server.storage.manifests import Layer, encode_manifest, read_manifest
from server.storage.partials import open_partial
from server.storage.pulled import hold_blobs, write_manifest
from server.storage.store import ModelStore
from tests.support.store_models import CONFIG, WEIGHTS, blobs, make, name
from tests.support.stores import digest_of, put


def test_prune_removes_old_orphans_only(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "m")
    old, held = put(store, b"old orphan"), put(store, b"held orphan")
    store.pin(held)
    partial = store.paths.blobs / f"sha256-{'a' * 64}-partial"
    partial.write_bytes(b"x")
    legacy = store.paths.blobs / f"sha256:{'b' * 64}"
    legacy.write_bytes(b"x")
    for path in store.paths.blobs.iterdir():
        os.utime(path, (1, 1))
    new = put(store, b"new orphan")
    assert ModelStore(tmp_path, noprune=True).prune() == 0
    # Something is under way, and the old one may be a part of it.
    assert store.prune() == 0
    os.utime(store.blob_path(new), (time.time() - 3500, time.time() - 3500))
    assert store.prune() == 0
    os.utime(store.blob_path(new), (1, 1))
    assert store.prune() == 2
    assert not store.has_blob(old)
    assert store.has_blob(held)
    assert partial.exists()
    assert legacy.exists()
    assert store.find(name("m"))


@pytest.mark.parametrize(
    "work",
    [
        f"sha256-{'a' * 64}-partial-3",
        f"sha256-{'a' * 64}.tmp",
        "Q4_K_M17",
        "x/",
        # Another layer that is complete, while the download is verified.
        digest_of(b"x").replace(":", "-"),
    ],
)
def test_prune_removes_nothing_while_another_program_is_at_work(tmp_path: Path, work: str) -> None:
    """What a download has finished long ago is in no manifest before all of it is there."""
    store = ModelStore(tmp_path)
    make(store, "m")
    finished = put(store, b"first layer of a long download")
    os.utime(store.blob_path(finished), (1, 1))
    path = store.paths.blobs / work
    path.mkdir() if work.endswith("/") else path.write_bytes(b"x")
    assert store.prune() == 0
    os.utime(path, (1, 1))
    assert store.prune() == 1 + (path.name == digest_of(b"x").replace(":", "-"))
    assert not store.has_blob(finished)


def test_prune_removes_nothing_where_the_manifests_are_not_there(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    make(store, "m")
    store.paths.manifests.rename(tmp_path / "elsewhere")
    before = blobs(store)
    assert store.prune(time.time() + 7200) == 0
    assert blobs(store) == before


def test_a_blob_that_a_client_asked_for_stays_for_other_processes_too(tmp_path: Path) -> None:
    """A client that hears that a blob is there does not upload it; the next server to start must spare it."""
    store = ModelStore(tmp_path)
    make(store, "m")
    digest = put(store, b"asked for")
    os.utime(store.blob_path(digest), (1, 1))
    assert store.hold_blob(digest)
    assert ModelStore(tmp_path).prune() == 0
    assert store.has_blob(digest)
    assert store.prune(time.time() + 7200) == 0
    assert not store.hold_blob(digest_of(b"never seen"))


def test_an_upload_survives_until_its_model_is_made(tmp_path: Path) -> None:
    """A blob that a client was told is there does not go with another model that has it."""
    store = ModelStore(tmp_path)
    make(store, "a")
    digest = digest_of(WEIGHTS)
    store.pin(digest)
    store.delete(name("a"))
    make_of = Layer("model", digest, len(WEIGHTS))
    store.write_model(name("b"), CONFIG, [make_of])
    store.unpin([digest])
    assert store.find(name("b"))
    store.delete(name("b"))
    assert blobs(store) == set()


def test_an_upload_of_two_clients_stays_until_both_have_made_their_model(tmp_path: Path) -> None:
    store, other = ModelStore(tmp_path), ModelStore(tmp_path)
    digest = digest_of(WEIGHTS)
    store.pin(digest)
    put(store, WEIGHTS)
    assert other.hold_blob(digest)
    layer = Layer("model", digest, len(WEIGHTS))
    store.write_model(name("a"), CONFIG, [layer])
    store.unpin([digest])
    store.delete(name("a"))
    assert other.has_blob(digest)
    other.write_model(name("b"), CONFIG, [layer])
    other.unpin([digest])
    other.delete(name("b"))
    assert blobs(store) == set()


def test_what_two_pulls_need_stays_when_one_ends_and_its_model_goes(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    config, shared = put(store, b"{}"), put(store, b"shared")
    layers = [Layer("config", config, 2), Layer("license", shared, 6)]
    raw = encode_manifest(layers[0], layers[1:])
    for holder in ("one", "two"):
        assert hold_blobs(ModelStore(tmp_path), layers, holder) == {}
    write_manifest(store, name("one"), raw, "one")
    store.delete(name("one"))
    assert store.has_blob(config) and store.has_blob(shared)
    write_manifest(ModelStore(tmp_path), name("two"), raw, "two")
    store.delete(name("two"))
    assert blobs(store) == set()


def test_a_layer_stays_for_the_whole_time_of_a_long_download(tmp_path: Path) -> None:
    """A licence that many models share, fetched hours before the weights of its model are there."""
    store = ModelStore(tmp_path)
    make(store, "other", system="a licence")
    digest = digest_of(b"a licence")
    store.pin(digest)
    for path in (store.blob_path(digest), *store.paths.pins.iterdir()):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    partial = open_partial(store.paths, f"sha256:{'d' * 64}", 1000, "big")
    assert partial is not None
    store.delete(name("other"))
    assert store.has_blob(digest)
    partial.close()
    partial.remove()
    make(store, "other", system="a licence")
    store.delete(name("other"))
    assert not store.has_blob(digest)


def test_create_and_delete_in_many_threads_never_removes_a_referenced_blob(tmp_path: Path) -> None:
    """All models share their weights and some system texts; after each create the model must be whole."""
    store = ModelStore(tmp_path)
    make(store, "keeper", system="shared 0")
    start = threading.Barrier(6)

    def work(seed: int) -> int:
        rng = random.Random(seed)
        start.wait()
        made = 0
        for _ in range(25):
            own = f"m{rng.randrange(4)}"
            try:
                if rng.random() < 0.6:
                    with store.changing():
                        make(store, own, system=f"shared {rng.randrange(3)}")
                        assert store.find(name(own)).metadata().architecture == "llama"
                    made += 1
                else:
                    store.delete(name(own))
            except ModelNotFound:
                continue
        return made

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) > 0
    for model in store.list_models():
        assert model.is_complete
        assert model.manifest.digests <= {f"sha256:{blob[7:]}" for blob in blobs(store)}
    assert store.find(name("keeper")).system == "shared 0"
    needed = set().union(*(model.manifest.digests for model in store.list_models()))
    assert {f"sha256:{blob[7:]}" for blob in blobs(store)} == needed
    assert list(store.paths.temporary.iterdir()) == []


def _churn(root: str, seed: int) -> None:
    store = ModelStore(Path(root))
    rng = random.Random(seed)
    for _ in range(15):
        try:
            if rng.random() < 0.6:
                with store.changing():
                    make(store, f"m{rng.randrange(3)}", system=f"shared {rng.randrange(2)}")
            else:
                store.delete(name(f"m{rng.randrange(3)}"))
        except ModelNotFound:
            continue


def test_processes_keep_each_others_blobs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_churn, args=(str(tmp_path), seed)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    store = ModelStore(tmp_path)
    for path in store.paths.manifests.rglob("latest"):
        for digest in read_manifest(path).digests:
            assert store.has_blob(digest)


def test_a_folder_that_ollama_removes_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(tmp_path)
    weights = Layer("model", put(store, WEIGHTS), len(WEIGHTS))
    make(store, "other")
    replace = os.replace
    removed: list[Path] = []

    def prune_first(source: Path, target: Path) -> None:
        if target.name == "latest" and not removed:
            target.parent.rmdir()
            removed.append(target.parent)
        replace(source, target)

    monkeypatch.setattr("server.storage.disk.os.replace", prune_first)
    store.write_model(name("m"), CONFIG, [weights])
    assert removed
    assert store.find(name("m")).is_complete
