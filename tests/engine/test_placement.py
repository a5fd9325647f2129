"""What each device has of a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.loading import Engine
from server.engine.model import Model
from server.engine.placement import device_of, device_parts
from server.ipc.messages import DeviceInfo
from server.types.models import DevicePart
from tests.engine.conftest import MakeEngine

NAMES = ("CUDA0", "CUDA1", "CUDA10", "BLAS", "CPU")


def devices(*names: str) -> list[DeviceInfo]:
    kinds = {"C": "cpu", "B": "accel"}
    return [
        DeviceInfo(
            name=name,
            description=f"a {name}",
            kind="gpu" if name.startswith("CUDA") else kinds[name[0]],
            memory_free_bytes=1,
            memory_total_bytes=2,
        )
        for name in names
    ]


@pytest.mark.parametrize(
    ("buffer", "device"),
    [
        ("CPU", "CPU"),
        ("CPU_Mapped", "CPU"),
        ("CPU_REPACK", "CPU"),
        ("CUDA_Host", "CPU"),
        ("CUDA0", "CUDA0"),
        ("CUDA1_Split", "CUDA1"),
        ("CUDA10", "CUDA10"),
        ("AMX", "CPU"),
    ],
)
def test_a_buffer_lies_in_the_memory_of_one_device(buffer: str, device: str) -> None:
    assert device_of(buffer, NAMES) == device


def test_layers_and_bytes_are_told_by_device() -> None:
    found = device_parts(
        devices("CUDA0", "CUDA1", "BLAS", "CPU"),
        ("CPU", "CUDA0", "CUDA0", "CUDA1"),
        {
            ("CPU_Mapped", "model"): 5,
            ("CUDA0", "model"): 7,
            ("CUDA1", "model"): 9,
            ("CUDA_Host", "compute"): 2,
            ("CUDA0", "KV"): 3,
            ("CUDA0", "RS"): 1,
        },
    )
    assert [(part.device, part.n_layers, part.n_bytes, part.is_gpu) for part in found] == [
        ("CUDA0", 2, 11, True),
        ("CUDA1", 1, 9, True),
        ("CPU", 1, 7, False),
    ]
    assert found[0] == DevicePart(
        device="CUDA0", description="a CUDA0", kind="gpu", n_layers=2, weights_bytes=7, kv_bytes=4
    )


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from(("CPU", "CUDA0", "CUDA10_Split", "CUDA_Host", "other")),
            st.sampled_from(("model", "KV", "RS", "compute")),
        ),
        st.integers(0, 1 << 40),
    ),
    st.lists(st.sampled_from(NAMES)),
)
def test_nothing_is_lost(buffers: dict[tuple[str, str], int], layers: list[str]) -> None:
    found = device_parts(devices(*NAMES), layers, buffers)
    assert sum(part.n_bytes for part in found) == sum(buffers.values())
    assert sum(part.n_layers for part in found) == len(layers)
    assert all(part.n_bytes or part.n_layers for part in found)


def test_a_processor_alone_computes_all_layers(make_engine: MakeEngine, spark: Model) -> None:
    engine: Engine = make_engine(spark)
    (part,) = engine.loaded.device_parts
    assert (part.device, part.kind, part.is_gpu) == ("CPU", "cpu", False)
    assert part.n_layers == len(spark.layer_devices) == 7
    assert engine.loaded.vram_bytes == 0
    assert part.kv_bytes == engine.loaded.kv_bytes
    assert part.compute_bytes == engine.loaded.compute_bytes
