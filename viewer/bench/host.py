"""What machine this is: processor, memory, caches, power policy, and the software that runs on it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OPENBLAS_L2_SIZE",
    "MKL_NUM_THREADS",
    "MKL_ENABLE_INSTRUCTIONS",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
)
ISA_FLAGS = (
    *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"),
    *("avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve", "sve2", "sme"),
)


def read_text(path: str) -> str | None:
    """The stripped text of a small system file, or None."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _cpuinfo() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def _sysctl(name: str) -> str | None:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.processor()
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def isa_flags() -> list[str]:
    """Vector and matrix extensions that the system reports, in the order of ISA_FLAGS."""
    info = _cpuinfo()
    have = set((info.get("flags") or info.get("Features") or "").split())
    return [flag for flag in ISA_FLAGS if flag in have]


def usable_cpus() -> list[int]:
    """Processors this process may use, one hardware thread of each core first, then the siblings."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    cpus = sorted(os.sched_getaffinity(0))
    seen: set[str] = set()
    first: list[int] = []
    later: list[int] = []
    for cpu in cpus:
        base = f"/sys/devices/system/cpu/cpu{cpu}/topology/"
        core = f"{read_text(base + 'physical_package_id')}:{read_text(base + 'core_id')}"
        unknown = core == "None:None"
        (first if unknown or core not in seen else later).append(cpu)
        seen.add(core)
    return first + later


def physical_cores() -> int:
    """Cores among the usable processors (hardware threads of one core counted once)."""
    cpus = usable_cpus()
    cores = set()
    for cpu in cpus:
        base = f"/sys/devices/system/cpu/cpu{cpu}/topology/"
        core = read_text(base + "core_id")
        cores.add((read_text(base + "physical_package_id"), core) if core else cpu)
    return len(cores)


def pinnable(cpus: list[int]) -> list[int]:
    """The processors to pin threads to, or -1 for each where threads cannot be pinned."""
    return cpus if sys.platform == "linux" else [-1] * len(cpus)


def memory_bytes() -> int | None:
    """Physical memory, limited by the control group where there is a limit."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    limit = read_text("/sys/fs/cgroup/memory.max")
    return min(total, int(limit)) if limit and limit.isdigit() else total


def caches() -> dict[str, dict[str, int]]:
    """Level (``l1``, ``l2``, ``l3``) -> {``bytes`` of one instance, ``shared_by`` usable processors}."""
    found: dict[str, dict[str, int]] = {}
    for index in range(8):
        base = f"/sys/devices/system/cpu/cpu{usable_cpus()[0]}/cache/index{index}/"
        size, level, kind = (read_text(base + n) for n in ("size", "level", "type"))
        if not size or not level or kind == "Instruction":
            continue
        unit = {"K": 1024, "M": 1024**2, "G": 1024**3}.get(size[-1], 1)
        shared = read_text(base + "shared_cpu_list") or ""
        found[f"l{level}"] = {"bytes": int(size.rstrip("KMG")) * unit, "shared_by": _list_length(shared)}
    return found


def _list_length(text: str) -> int:
    """``0-3,8`` -> 5; 1 for nonsense."""
    total = 0
    for part in text.split(","):
        ends = part.split("-")
        if not all(end.isdigit() for end in ends):
            return 1
        total += int(ends[-1]) - int(ends[0]) + 1
    return max(total, 1)


def cpu_device() -> dict[str, object]:
    """The processor for the result file: model, topology, caches, power policy."""
    info = _cpuinfo()
    return {
        "kind": "cpu",
        "name": cpu_model(),
        "vendor": info.get("vendor_id") or platform.machine(),
        "family": info.get("cpu family") or info.get("CPU implementer"),
        "model": info.get("model") or info.get("CPU part"),
        "machine": platform.machine(),
        "processors": len(usable_cpus()),
        "cores": physical_cores(),
        "numa_nodes": len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None,
        "smt": read_text("/sys/devices/system/cpu/smt/control"),
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "hypervisor": "hypervisor" in (info.get("flags") or "").split(),
        "transparent_huge_pages": read_text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "memory_bytes": memory_bytes(),
        "caches": caches(),
        "isa": isa_flags(),
    }


def software(packages: tuple[str, ...] = ("numpy", "threadpoolctl")) -> dict[str, object]:
    """Versions and the environment variables that change results."""
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": versions,
        "environment": {k: os.environ[k] for k in ENVIRONMENT if k in os.environ},
    }


def tool_version() -> tuple[str, str | None, bool | None]:
    """(version, git commit, dirty) of this tool; the last two only from a checkout of its own."""
    try:
        version = metadata.version("roofline")
    except metadata.PackageNotFoundError:
        version = "unreleased"
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return version, None, None
    return version, _git(root, "rev-parse", "HEAD"), bool(_git(root, "status", "--porcelain", "-uno"))


def _git(root: Path, *words: str) -> str | None:
    command = ["git", "-C", str(root), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def busy_seconds() -> float | None:
    """Processor seconds spent by the whole machine since boot (Linux; steal counts), or None."""
    fields = (read_text("/proc/stat") or "").split("\n", 1)[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    user, nice, system, _, _, irq, soft, steal = (int(x) for x in fields[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor seconds of this process so far."""
    times = os.times()
    return times.user + times.system
