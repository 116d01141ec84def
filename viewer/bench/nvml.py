"""Clock, power, temperature and energy of an NVIDIA GPU while it works. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# nvmlClocksEventReasons bits that mean the clock was held down: power cap, HW and SW thermal, HW slowdown, brake
THROTTLE_BITS = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


@dataclass(frozen=True, slots=True)
class Reading:
    """One moment; None where the driver does not say."""

    clock_hz: float | None = None
    memory_clock_hz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    energy_j: float | None = None
    reasons: int | None = None

    @property
    def throttled(self) -> bool:
        """Whether power or heat held the clock down."""
        return bool((self.reasons or 0) & THROTTLE_BITS)


class Monitor:
    """NVML for the device with a PCI address; every figure that is missing is None, never an error."""

    def __init__(self, pci: str, api: Any = None) -> None:
        self._api, self._handle = api, None
        try:
            if api is None:
                import pynvml

                self._api = pynvml
            self._api.nvmlInit()
            self._handle = self._api.nvmlDeviceGetHandleByPciBusId(pci.encode())
        except Exception:  # absent package, driver, device or right: the monitor then reads nothing
            self._handle = None

    @property
    def works(self) -> bool:
        """Whether NVML found the device."""
        return self._handle is not None

    def _ask(self, name: str, *arguments: Any) -> Any:
        if self._handle is None:
            return None
        try:
            return getattr(self._api, name)(self._handle, *arguments)
        except Exception:  # not supported on this device, or no permission
            return None

    def read(self) -> Reading:
        """The state now."""

        def scaled(value: Any, factor: float) -> float | None:
            return None if value is None else float(value) * factor

        reasons = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if reasons is None:
            reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return Reading(
            clock_hz=scaled(self._ask("nvmlDeviceGetClockInfo", 1), 1e6),
            memory_clock_hz=scaled(self._ask("nvmlDeviceGetClockInfo", 2), 1e6),
            power_w=scaled(self._ask("nvmlDeviceGetPowerUsage"), 1e-3),
            temperature_c=scaled(self._ask("nvmlDeviceGetTemperature", 0), 1.0),
            energy_j=scaled(self._ask("nvmlDeviceGetTotalEnergyConsumption"), 1e-3),
            reasons=None if reasons is None else int(reasons),
        )

    def describe(self) -> dict[str, Any]:
        """Settings of the device, for the result file."""
        asked = {
            "max_sm_clock_mhz": self._ask("nvmlDeviceGetMaxClockInfo", 1),
            "max_memory_clock_mhz": self._ask("nvmlDeviceGetMaxClockInfo", 2),
            "default_sm_clock_mhz": self._ask("nvmlDeviceGetDefaultApplicationsClock", 1),
            "power_limit_default_mw": self._ask("nvmlDeviceGetPowerManagementDefaultLimit"),
            "power_limit_enforced_mw": self._ask("nvmlDeviceGetEnforcedPowerLimit"),
            "persistence_mode": self._ask("nvmlDeviceGetPersistenceMode"),
            "mig_mode": self._ask("nvmlDeviceGetMigMode"),
            "pcie_generation": self._ask("nvmlDeviceGetCurrPcieLinkGeneration"),
            "pcie_width": self._ask("nvmlDeviceGetCurrPcieLinkWidth"),
            "clock_reasons": self.read().reasons,
        }
        return {k: list(v) if isinstance(v, tuple | list) else v for k, v in asked.items() if v is not None}
