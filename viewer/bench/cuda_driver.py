"""The part of the CUDA driver API that the measured core needs, on the device's primary context.

The primary context is the one PyTorch uses too, so both see the same memory and no second context competes.
Nothing here changes a device's clocks, power limit, mode or any other setting.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# CUdevice_attribute numbers (cuda.h), by the name they get in the result file
ATTRIBUTES = {
    "compute_capability_major": 75,
    "compute_capability_minor": 76,
    "sm_count": 16,
    "l2_bytes": 38,
    "shared_bytes_per_sm": 81,
    "registers_per_sm": 82,
    "threads_per_sm": 39,
    "memory_bus_bits": 37,
    "sm_clock_khz": 13,
    "memory_clock_khz": 36,
    "ecc": 32,
    "compute_mode": 20,
    "pci_bus": 33,
    "pci_device": 34,
    "pci_domain": 50,
}
# CUfunction_attribute numbers
FUNCTION_ATTRIBUTES = {"shared_bytes": 1, "local_bytes": 3, "registers": 4}


class GpuError(RuntimeError):
    """A driver call failed; the message names the call and the driver's error."""


def find_driver() -> Any:
    """The initialised driver API of cuda-bindings; GpuError in one line where there is no driver or device."""
    try:
        from cuda.bindings import driver
    except ImportError:
        raise GpuError("cuda-bindings is not installed (pip install 'roofline[cuda]')") from None
    try:
        status = driver.cuInit(0)[0]
    except (
        Exception
    ):  # its loader raises various errors, some of several lines, when libcuda cannot be opened
        raise GpuError("no NVIDIA driver on this machine (its library libcuda cannot be loaded)") from None
    if int(status):
        raise GpuError(f"the CUDA driver does not start ({getattr(status, 'name', status)})")
    return driver


class Gpu:
    """One device, its primary context and one stream. ``api`` is cuda.bindings.driver, or a stand-in."""

    def __init__(self, api: Any, ordinal: int = 0) -> None:
        self.api = api
        count = self.call("cuDeviceGetCount")
        if not 0 <= ordinal < count:
            raise GpuError(f"no CUDA device {ordinal} (there are {count})")
        self.device = self.call("cuDeviceGet", ordinal)
        self.call("cuCtxSetCurrent", self.call("cuDevicePrimaryCtxRetain", self.device))
        self.stream = self.call("cuStreamCreate", 1)  # non-blocking: not ordered after the legacy stream
        self.facts = {
            name: int(self.call("cuDeviceGetAttribute", n, self.device)) for name, n in ATTRIBUTES.items()
        }
        self._owned: list[int] = []
        self._pinned: list[int] = []

    def call(self, name: str, *arguments: Any) -> Any:
        """Calls the driver; returns its single result, the tuple of several, or None. GpuError on failure."""
        function: Callable[..., Any] = getattr(self.api, name)
        if name == "cuDeviceGetAttribute":
            arguments = (self._enum("CUdevice_attribute", arguments[0]), *arguments[1:])
        if name == "cuFuncGetAttribute":
            arguments = (self._enum("CUfunction_attribute", arguments[0]), *arguments[1:])
        status, *found = function(*arguments)
        if int(status):
            raise GpuError(f"{name}: {getattr(status, 'name', int(status))}")
        return None if not found else found[0] if len(found) == 1 else tuple(found)

    def _enum(self, name: str, value: int) -> Any:
        kind = getattr(self.api, name, None)
        return kind(value) if kind else value

    # --- what it is -----------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Name, UUID and attributes for the result file."""
        raw = self.call("cuDeviceGetName", 96, self.device)
        uuid = self.call("cuDeviceGetUuid", self.device)
        return {
            "kind": "gpu",
            "name": bytes(raw).split(b"\0")[0].decode(errors="replace"),
            "uuid": bytes(uuid.bytes).hex() if hasattr(uuid, "bytes") else str(uuid),
            "driver_version": int(self.call("cuDriverGetVersion")),
            "memory_bytes": int(self.call("cuDeviceTotalMem", self.device)),
            **self.facts,
        }

    @property
    def sm_count(self) -> int:
        """Streaming multiprocessors."""
        return self.facts["sm_count"]

    def free_bytes(self) -> int:
        """Device memory that is free now."""
        return int(self.call("cuMemGetInfo")[0])

    # --- memory ---------------------------------------------------------------------------------------

    def alloc(self, size: int) -> int:
        """Device memory, as an address."""
        address = int(self.call("cuMemAlloc", size))
        self._owned.append(address)
        return address

    def release(self) -> None:
        """Frees everything that ``alloc`` and ``upload`` gave out."""
        while self._owned:
            self.call("cuMemFree", self._owned.pop())
        while self._pinned:
            self.call("cuMemFreeHost", self._pinned.pop())

    def alloc_host(self, size: int) -> int:
        """Pinned host memory, as an address; freed by ``release``."""
        address = int(self.call("cuMemAllocHost", size))
        self._pinned.append(address)
        return address

    def upload(self, array: Array) -> int:
        """A copy of the array in device memory."""
        address = self.alloc(array.nbytes)
        self.write(address, array)
        return address

    def write(self, address: int, array: Array) -> None:
        """Copies an array to device memory, on the stream: the stream waits for no other, so nothing else may."""
        data = np.ascontiguousarray(array)
        self.call("cuMemcpyHtoDAsync", address, data.ctypes.data, data.nbytes, self.stream)
        self.synchronize()

    def download(self, address: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """A copy of device memory as an array."""
        out = np.empty(shape, dtype)
        self.synchronize()
        self.call("cuMemcpyDtoH", out.ctypes.data, address, out.nbytes)
        return out

    def copy(self, to: int, source: int, size: int) -> None:
        """Device to device, on the stream (the copy engine's or the driver's own kernel)."""
        self.call("cuMemcpyDtoDAsync", to, source, size, self.stream)

    def fill(self, address: int, size: int, word: int) -> None:
        """Sets every 32-bit word: results are poisoned before a run, so that an unwritten one is seen."""
        self.call("cuMemsetD32Async", address, word, size // 4, self.stream)

    # --- code -----------------------------------------------------------------------------------------

    def function(self, cubin: bytes, entry: str) -> Any:
        """A kernel of a cubin (its module stays loaded)."""
        return self.call("cuModuleGetFunction", self.call("cuModuleLoadData", cubin), entry.encode())

    def function_facts(self, function: Any) -> dict[str, int]:
        """Registers, shared and local memory as the driver sees them."""
        return {n: int(self.call("cuFuncGetAttribute", k, function)) for n, k in FUNCTION_ATTRIBUTES.items()}

    def blocks_per_sm(self, function: Any, threads: int) -> int:
        """Resident blocks per multiprocessor."""
        return int(self.call("cuOccupancyMaxActiveBlocksPerMultiprocessor", function, threads, 0))

    def launch(self, function: Any, blocks: int, threads: int, arguments: Arguments) -> None:
        """Enqueues a kernel on the stream."""
        self.call(
            "cuLaunchKernel", function, blocks, 1, 1, threads, 1, 1, 0, self.stream, arguments.address, 0
        )

    def synchronize(self) -> None:
        """Waits for the stream; errors of the kernels appear here."""
        self.call("cuStreamSynchronize", self.stream)

    # --- time -----------------------------------------------------------------------------------------

    def timed(self, enqueue: Callable[[], None]) -> float:
        """Seconds between two events around what ``enqueue`` puts on the stream."""
        begin, end = self.call("cuEventCreate", 0), self.call("cuEventCreate", 0)
        try:
            self.call("cuEventRecord", begin, self.stream)
            enqueue()
            self.call("cuEventRecord", end, self.stream)
            self.call("cuEventSynchronize", end)
            return float(self.call("cuEventElapsedTime", begin, end)) * 1e-3
        finally:
            self.call("cuEventDestroy", begin)
            self.call("cuEventDestroy", end)

    def graph_of(self, enqueue: Callable[[], None]) -> Any:
        """An executable graph of what ``enqueue`` puts on the stream."""
        self.call("cuStreamBeginCapture", self.stream, self._enum("CUstreamCaptureMode", 2))  # relaxed
        enqueue()
        graph = self.call("cuStreamEndCapture", self.stream)
        return self.call("cuGraphInstantiate", graph, 0)

    def launch_graph(self, graph: Any) -> None:
        """Enqueues a graph."""
        self.call("cuGraphLaunch", graph, self.stream)


class Arguments:
    """Kernel arguments as the driver wants them: an array of pointers to values that stay alive here."""

    def __init__(self, *values: Any) -> None:
        self.values = values
        self._keep = (ctypes.c_void_p * max(len(values), 1))(*(ctypes.addressof(v) for v in values))

    @property
    def address(self) -> int:
        """Address of the pointer array (0 when there are no arguments)."""
        return ctypes.addressof(self._keep) if self.values else 0


pointer = ctypes.c_uint64
u32 = ctypes.c_uint32
u64 = ctypes.c_uint64
f32 = ctypes.c_float
