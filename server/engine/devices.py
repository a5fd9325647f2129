"""The devices that ggml found."""

from __future__ import annotations

import ctypes
from typing import Final

from server.engine import native
from server.ipc.messages import DeviceInfo

_KINDS: Final = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accel"}


def list_devices() -> tuple[DeviceInfo, ...]:
    """Every device, with its memory at this moment."""
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    count = native.library_function("ggml_backend_dev_count", number, [])
    get = native.library_function("ggml_backend_dev_get", pointer, [number])
    name = native.library_function("ggml_backend_dev_name", text, [pointer])
    description = native.library_function("ggml_backend_dev_description", text, [pointer])
    kind = native.library_function("ggml_backend_dev_type", ctypes.c_int, [pointer])
    size = ctypes.POINTER(number)
    memory = native.library_function("ggml_backend_dev_memory", None, [pointer, size, size])
    devices: list[DeviceInfo] = []
    for index in range(count()):
        device = get(index)
        free, total = number(0), number(0)
        memory(device, ctypes.byref(free), ctypes.byref(total))
        devices.append(
            DeviceInfo(
                name=(name(device) or b"").decode("utf-8", "replace"),
                description=(description(device) or b"").decode("utf-8", "replace"),
                kind=_KINDS.get(kind(device), "accel"),
                memory_free_bytes=free.value,
                memory_total_bytes=total.value,
            )
        )
    return tuple(devices)


def gpu_names() -> list[str]:
    """Names of the devices that have a graphics processor, such as "CUDA0"."""
    return [device.name for device in list_devices() if device.kind in ("gpu", "igpu")]
