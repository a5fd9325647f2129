"""A context that does not fit is made smaller before the load fails, and what is told is what it is."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from server.engine.load_retry import LEAST_BATCH, smaller_load
from server.types.generation import LoadParams
from tests.support.engine_worker import SPARK

SCRIPT = """
import os, resource, sys
from server.engine import native
from server.engine.failures import NoMemory
from server.engine.inbox import Inbox
from server.engine.loading import open_engine
from server.engine.logs import LogSink
from server.engine.model import load_model
from server.types.generation import LoadParams, ModelPaths

log = LogSink()
log.install()
native.backend_init()
params = LoadParams(n_ctx=2048, n_slots=32, n_gpu_layers=0, n_threads=1)
model = load_model(ModelPaths(model=sys.argv[1]), params, log, lambda fraction: True)
in_use = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
limit = in_use + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    loaded = open_engine(model, params, Inbox(-1), log).loaded
    print(loaded.n_slots, loaded.kv_bytes >> 20)
except NoMemory as error:
    print("no memory", error.message)
os._exit(0)
"""


def run(room_mib: int) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(SPARK), str(room_mib)],
        capture_output=True,
        text=True,
        timeout=60,
        # glibc takes 64 MiB of addresses for each thread that allocates; here all of them are counted.
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_fewer_slots_are_made_where_all_do_not_fit() -> None:
    """32 slots take 192 MiB of KV cache."""
    (n_slots, kv_mib), log = run(120)
    assert n_slots in ("8", "16")
    assert int(kv_mib) == 6 * int(n_slots)
    assert f"trying with {n_slots} slots and batches of 128 tokens" in log


def test_a_load_fails_when_not_even_one_slot_fits() -> None:
    answer, log = run(3)
    assert answer[:2] == ["no", "memory"]
    assert "trying with 1 slots" in log


@given(
    n_slots=st.integers(1, 64),
    n_batch=st.integers(1, 4096),
    is_pool=st.booleans(),
    has_checkpoints=st.booleans(),
    n_ctx=st.integers(1, 1 << 17),
)
def test_each_load_is_smaller_and_the_last_has_one_slot(
    n_slots: int, n_batch: int, is_pool: bool, has_checkpoints: bool, n_ctx: int
) -> None:
    load: LoadParams | None = LoadParams(
        n_ctx=n_ctx,
        n_slots=n_slots,
        n_batch=n_batch,
        n_pool_cells=n_ctx * 3 if is_pool and n_slots > 3 else 0,
        n_checkpoints=2 * n_slots if has_checkpoints else 0,
    )
    n_tries = 0
    while load is not None:
        smaller = smaller_load(load, n_ctx=n_ctx)
        if smaller is None:
            assert load.n_slots == 1
            assert load.n_batch <= max(LEAST_BATCH, n_batch)
            break
        assert (smaller.n_slots, smaller.n_batch) < (load.n_slots, load.n_batch)
        assert smaller.n_slots * smaller.n_batch < load.n_slots * load.n_batch
        assert smaller.n_ctx == n_ctx
        assert not smaller.n_pool_cells or smaller.n_pool_cells >= n_ctx
        load, n_tries = smaller, n_tries + 1
    assert n_tries <= 12
