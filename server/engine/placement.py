"""Which device holds and computes what of a loaded model. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from server.ipc.messages import DeviceInfo
from server.types.models import DevicePart

PROCESSOR: Final = "CPU"
"""ggml's name for the device that computes what no other does."""

_KV_USES: Final = ("KV", "RS")


def device_of(buffer: str, devices: Collection[str]) -> str:
    """The device whose memory a buffer such as "CUDA0" or "CPU_Mapped" lies in.

    "CUDA_Host" is memory of the processor that a GPU can read.
    """
    if buffer.endswith("_Host"):
        return PROCESSOR
    return max((device for device in devices if buffer.startswith(device)), key=len, default=PROCESSOR)


def device_parts(
    devices: Sequence[DeviceInfo], layers: Sequence[str], buffer_bytes: Mapping[tuple[str, str], int]
) -> tuple[DevicePart, ...]:
    """What each device has of a model, in the order of the devices and without those that have nothing.

    Args:
        layers: the device of each layer, the output layer last.
        buffer_bytes: by (buffer, use), as `server.engine.logs.LogSink` keeps them.
    """
    names = [device.name for device in devices]
    held: dict[tuple[str, str], int] = {}
    for (buffer, use), n_bytes in buffer_bytes.items():
        key = device_of(buffer, names), "KV" if use in _KV_USES else use
        held[key] = held.get(key, 0) + n_bytes
    parts = (
        DevicePart(
            device=device.name,
            description=device.description,
            kind=device.kind,
            n_layers=sum(name == device.name for name in layers),
            weights_bytes=held.get((device.name, "model"), 0),
            kv_bytes=held.get((device.name, "KV"), 0),
            compute_bytes=held.get((device.name, "compute"), 0),
        )
        for device in devices
    )
    return tuple(part for part in parts if part.n_layers or part.n_bytes)
