"""Compiles the processor's probes with the system's C compiler and calls them through ctypes."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from viewer.bench.storage import cache_dir, digest, write_atomic

SOURCES = ("cpu_core.c", "cpu_memory.c", "cpu_compute.c", "cpu_dot.c", "cpu_exp.c")
# No loop may become memcpy (it streams past the cache on its own); fused multiply-add is what is measured.
FLAGS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-tree-loop-distribute-patterns", "-fPIC", "-shared")
TUNING = ("-march=native", "-mcpu=native", "")
TIMEOUT_S = 120


class BuildError(RuntimeError):
    """No compiler, or none that could build the probes; the message says which and why, in one line."""


@dataclass(frozen=True, slots=True)
class Built:
    """The shared library and how it came to be."""

    path: Path
    compiler: str
    flags: tuple[str, ...]
    source_sha256: str


def find_cc() -> str | None:
    """The C compiler: $CC when set, else cc, gcc or clang on the PATH."""
    wanted = os.environ.get("CC")
    for name in (wanted,) if wanted else ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return path
    return None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise BuildError(f"{command[0]} does not run: {str(error)[:200]}") from None


def _compiler_version(cc: str) -> str:
    done = _run([cc, "--version"])
    if done.returncode:
        raise BuildError(f"{cc} --version failed: {(done.stderr or done.stdout).strip()[:200]}")
    return done.stdout.splitlines()[0].strip()[:200] if done.stdout else cc


def _cpu_identity() -> str:
    """What -march=native depends on, so that a home folder shared by unlike machines stays right."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        keep = ("model name", "flags", "Features", "CPU part", "vendor_id", "model\t", "cpu family")
        return "\n".join(dict.fromkeys(line for line in text.splitlines() if line.startswith(keep)))
    except OSError:
        return f"{platform.machine()} {platform.processor()}"


def build(folder: Path | None = None) -> Built:
    """Compiles the probes, or finds them in the cache; raises BuildError where that cannot be done."""
    cc = find_cc()
    if cc is None:
        raise BuildError("no C compiler found (cc, gcc or clang; set CC to name one)")
    version = _compiler_version(cc)
    root = resources.files("viewer.bench") / "csrc"
    texts = {n: (root / n).read_text(encoding="utf-8") for n in (*SOURCES, "cpu_core.h")}
    source = digest(*texts.values())
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    base = folder or cache_dir() / "cpu"
    problem = ""
    for tuning in TUNING:
        flags = tuple(f for f in (*FLAGS, tuning, "-pthread") if f)
        path = base / f"{digest(source, version, *flags, _cpu_identity())}{suffix}"
        if not path.exists():
            problem = _compile(cc, flags, texts, path)
        if path.exists():
            return Built(path, version, flags, source)
    raise BuildError(f"{cc} could not build the probes: {problem}")


def _compile(cc: str, flags: tuple[str, ...], texts: dict[str, str], path: Path) -> str:
    with tempfile.TemporaryDirectory() as work:
        for name, text in texts.items():
            (Path(work) / name).write_text(text, encoding="utf-8")
        out = Path(work) / "probes"
        done = _run([cc, *flags, "-o", str(out), *(str(Path(work) / n) for n in SOURCES), "-lm"])
        if done.returncode or not out.exists():
            lines = [line for line in done.stderr.splitlines() if "error" in line] or [done.stderr[:200]]
            return lines[0].strip()[:300] or "no output"
        try:
            write_atomic(path, out.read_bytes(), mode=0o755)
        except OSError as error:
            raise BuildError(f"cannot write {path}: {error}") from None
    return ""


class Probes:
    """The loaded library. Methods mirror csrc/cpu_core.c."""

    def __init__(self, path: Path) -> None:
        try:
            self._lib = ctypes.CDLL(str(path))
            self._lib.rl_isa.restype = ctypes.c_char_p
            self._lib.rl_clock_hz.restype = ctypes.c_double
            self._lib.rl_check.restype = ctypes.c_double
            self._lib.rl_open.restype = ctypes.c_void_p
            self._lib.rl_close.restype = None
        except (OSError, AttributeError) as error:
            raise BuildError(f"cannot load {path}: {str(error)[:200]}") from None
        self.isa: str = self._lib.rl_isa().decode()

    def counts(self, probe: str, bytes_per_array: int) -> tuple[float, float] | None:
        """(operations, bytes moved) of one rep of one thread, or None where this machine has no such probe."""
        ops, moved = ctypes.c_double(), ctypes.c_double()
        rc = self._lib.rl_counts(
            probe.encode(), ctypes.c_size_t(bytes_per_array), ctypes.byref(ops), ctypes.byref(moved)
        )
        return None if rc else (ops.value, moved.value)

    def clock_hz(self) -> float:
        """Core clock of this thread now, from a chain of dependent additions; 0 where it cannot be told."""
        return float(self._lib.rl_clock_hz())

    def open(self, probe: str, cpus: list[int], bytes_per_array: int, seed: int) -> Pool:
        """Threads (one per entry of ``cpus``; -1: not pinned) with arrays of their own."""
        array = (ctypes.c_int * len(cpus))(*cpus)
        handle = self._lib.rl_open(
            probe.encode(), len(cpus), array, ctypes.c_size_t(bytes_per_array), ctypes.c_uint64(seed)
        )
        if not handle:
            raise BuildError(f"probe {probe}: no threads or no memory ({bytes_per_array} bytes a thread)")
        return Pool(self._lib, handle)


class Pool:
    """Running threads of one probe; use it as a context manager."""

    def __init__(self, lib: ctypes.CDLL, handle: int) -> None:
        self._lib, self._handle = lib, ctypes.c_void_p(handle)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._lib.rl_close(self._handle)

    def check(self) -> float:
        """Largest relative error against plain C; also leaves the registers with operands worth timing."""
        return float(self._lib.rl_check(self._handle))

    def sample(self, reps: int, batches: int) -> tuple[list[float], list[float]]:
        """(seconds, core clock right after) of each batch of ``reps``."""
        seconds, hz = (ctypes.c_double * batches)(), (ctypes.c_double * batches)()
        self._lib.rl_sample(self._handle, ctypes.c_long(reps), batches, seconds, hz)
        return list(seconds), list(hz)
