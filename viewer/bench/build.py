"""Compiles CUDA kernels to a cubin of the exact architecture: NVRTC, or nvcc where that is what there is.

Cubins are cached by sha256(source, options, compiler version, architecture). PTX is never shipped or loaded:
PTX of a newer NVRTC may not load on an older driver.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from viewer.bench import sass
from viewer.bench.kernels import Arch, Kernel
from viewer.bench.storage import cache_dir, digest, write_atomic
from viewer.errors import InputError, unknown

NO_COMPILER = (
    "no CUDA compiler found: install the cuda extra (pip install 'roofline[cuda]') or put nvcc on the PATH"
)
# ptxas C7510 ... C7519: "Potential Performance Loss", e.g. wgmma serialised
_PERFORMANCE_LOSS = re.compile(r".*(?:C751\d|Performance Loss).*", re.IGNORECASE)


class Compiler(Protocol):
    """What turns CUDA C++ into a cubin."""

    name: str
    version: str

    def compile(self, source: str, arch: Arch) -> tuple[bytes | None, str]:
        """(cubin or None, log with registers and spills)."""

    def archs(self) -> frozenset[int]:
        """Architectures it can build for, compute capability x 10."""


class Nvrtc:
    """The run-time compiler of the nvidia-cuda-nvrtc wheel, through cuda-bindings."""

    name = "nvrtc"

    def __init__(self) -> None:
        from cuda.bindings import nvrtc  # heavy and optional

        self._api: Any = nvrtc
        status, major, minor = nvrtc.nvrtcVersion()
        if int(status):
            raise RuntimeError("NVRTC does not answer")
        self.version = f"{major}.{minor}"

    def archs(self) -> frozenset[int]:
        """Architectures it can build for."""
        return frozenset(self._api.nvrtcGetSupportedArchs()[1])

    def compile(self, source: str, arch: Arch) -> tuple[bytes | None, str]:
        """Compiles one translation unit; the log is ptxas' verbose report."""
        api = self._api
        _, program = api.nvrtcCreateProgram(source.encode(), b"roofline.cu", 0, [], [])
        try:
            options = [f"--gpu-architecture={arch.name}", "--std=c++17", "--ptxas-options=--verbose"]
            raw = [o.encode() for o in options]
            (status,) = api.nvrtcCompileProgram(program, len(raw), raw)
            log = self._text(api.nvrtcGetProgramLogSize, api.nvrtcGetProgramLog, program)
            if int(status):
                return None, log.decode(errors="replace").strip("\0 \n")
            cubin = self._text(api.nvrtcGetCUBINSize, api.nvrtcGetCUBIN, program)
            return cubin, log.decode(errors="replace").strip("\0 \n")
        finally:
            api.nvrtcDestroyProgram(program)

    @staticmethod
    def _text(size_of: Any, read: Any, program: Any) -> bytes:
        _, size = size_of(program)
        buffer = bytes(size)
        read(program, buffer)
        return buffer


class Nvcc:
    """The toolkit's compiler driver as a subprocess."""

    name = "nvcc"

    def __init__(self, path: str) -> None:
        self.path = path
        out = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
        found = re.search(r"V(\d+\.\d+\.\d+)", out)
        if not found:
            raise RuntimeError(f"{path} does not answer --version")
        self.version = found[1]

    def archs(self) -> frozenset[int]:
        """Architectures it can build for."""
        command = [self.path, "--list-gpu-code"]
        out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
        return frozenset(int(n) for n in re.findall(r"sm_(\d+)\b", out))

    def compile(self, source: str, arch: Arch) -> tuple[bytes | None, str]:
        """Compiles one translation unit; the log is ptxas' verbose report."""
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "roofline.cu", Path(folder) / "roofline.cubin"
            file.write_text(source, encoding="utf-8")
            command = [self.path, "-cubin", f"-arch={arch.name}", "-std=c++17", "-Xptxas", "-v"]
            command += ["-o", str(out), str(file)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            ok = done.returncode == 0 and out.exists()
            return (out.read_bytes() if ok else None), (done.stdout + done.stderr).strip()


@cache
def find_compiler(name: str = "auto") -> Compiler | None:
    """NVRTC if it loads, else nvcc if it is on the PATH, else None. ``name`` asks for one of them."""
    if name not in ("auto", "nvrtc", "nvcc"):
        raise unknown("CUDA compiler", name, ["auto", "nvrtc", "nvcc"])
    if name in ("auto", "nvrtc"):
        try:
            return Nvrtc()
        except Exception:  # a missing wheel, a missing library and a broken one all mean: not this compiler
            pass
    if name in ("auto", "nvcc") and (path := shutil.which("nvcc")):
        try:
            return Nvcc(path)
        except (OSError, RuntimeError, subprocess.SubprocessError):
            pass
    return None


@dataclass(frozen=True, slots=True)
class Module:
    """A compiled translation unit: cubin (None when it failed), compiler log and identity."""

    cubin: bytes | None
    log: str
    compiler: str
    source_sha256: str
    cubin_sha256: str


def source_text(name: str, variants: tuple[str, ...] = ()) -> str:
    """One translation unit: the common part, then the file, once per variant in a namespace of its own.

    Files are joined here because NVRTC has no include path; a variant's macros end with its namespace.
    """
    folder = resources.files("viewer.bench") / "csrc"
    common = (folder / "common.cuh").read_text(encoding="utf-8")
    body = (folder / name).read_text(encoding="utf-8")
    if not variants:
        return f'{common}\n#line 1 "{name}"\n{body}'
    macros = dict.fromkeys(re.findall(r"^\s*#\s*define (\w+)", body, re.MULTILINE))
    parts = [common]
    for variant in variants:
        parts.append(f"#define {variant}\n#define ENTRY {variant.lower()}\nnamespace {variant.lower()}_ {{")
        parts.append(f'#line 1 "{name}"\n{body}\n}}')
        parts += [f"#undef {macro}" for macro in [variant, "ENTRY", *macros]]
    return "\n".join(parts)


def build_module(
    compiler: Compiler, source: str, variants: tuple[str, ...], arch: Arch, *, use_cache: bool = True
) -> Module:
    """Compiles, or takes from the cache, one translation unit for one architecture."""
    text = source_text(source, variants)
    label = f"{compiler.name} {compiler.version}"
    file = cache_dir() / "cubin" / f"{digest(text, label, arch.name)}.cubin"
    note = file.with_suffix(".json")
    if use_cache:
        try:
            saved = json.loads(note.read_text(encoding="utf-8"))
            module = Module(cubin=file.read_bytes(), **saved)
            if digest(module.cubin or b"") == module.cubin_sha256:
                return module
        except (OSError, ValueError, TypeError):
            pass  # absent or damaged: build again
    cubin, log = compiler.compile(text, arch)
    module = Module(cubin, log, label, digest(text), digest(cubin or b""))
    if use_cache and cubin is not None:
        # a read-only cache costs a second compile, nothing else
        with contextlib.suppress(OSError):
            write_atomic(file, cubin)
            write_atomic(note, json.dumps({k: v for k, v in asdict(module).items() if k != "cubin"}))
    return module


@dataclass(frozen=True, slots=True)
class Build:
    """One kernel on one architecture: what it became, and whether that is what was asked for.

    ``status``: native | emulated | unsupported | failed. ``problems``: broken expectations (empty is good).
    """

    kernel: str
    arch: str
    status: str
    instruction: str = ""
    count: int | None = None
    registers: int | None = None
    spill_bytes: int | None = None
    shared_bytes: int | None = None
    wide_loads: int | None = None
    note: str = ""
    problems: tuple[str, ...] = ()
    module: Module | None = None
    opcodes: dict[str, int] | None = None

    def row(self) -> dict[str, object]:
        """The printable part."""
        keep: tuple[str, ...] = (
            "kernel",
            "arch",
            "status",
            "instruction",
            "count",
            "registers",
            "spill_bytes",
        )
        keep += ("shared_bytes", "wide_loads", "note")
        return {k: getattr(self, k) for k in keep} | {"problems": list(self.problems)}


def resources_of(log: str, entry: str) -> tuple[int | None, int | None, int | None]:
    """(registers, spilled bytes, static shared bytes) of an entry from a ptxas verbose log."""
    parts = re.split(r"Compiling entry function '(\w+)'", log)
    for name, body in zip(parts[1::2], parts[2::2], strict=False):
        if name == entry:
            registers = re.search(r"Used (\d+) registers", body)
            spills = re.findall(r"(\d+) bytes spill (?:stores|loads)", body)
            shared = re.search(r"(\d+) bytes smem", body)
            if registers:
                return int(registers[1]), sum(map(int, spills)), int(shared[1]) if shared else 0
    return None, None, None


def performance_warnings(log: str, entry: str) -> list[str]:
    """ptxas lines that say a kernel will run slower than written (C7510 ... C7519), or name no kernel."""
    lines = [line.strip() for line in log.splitlines() if _PERFORMANCE_LOSS.match(line)]
    return [line for line in lines if "function" not in line or f"'{entry}'" in line]


def check(kernel: Kernel, arch: Arch, module: Module, code: sass.Sass | None) -> Build:
    """Compares a compiled kernel with what its registry entry promises."""
    status = kernel.support(arch)
    if module.cubin is None:
        why = next((line for line in module.log.splitlines() if "error" in line.lower()), module.log)
        return Build(kernel.id, arch.name, "failed", note=why.strip()[:300], problems=(why.strip()[:300],))
    registers, spills, shared = resources_of(module.log, kernel.entry)
    problems = performance_warnings(module.log, kernel.entry) if status == "native" else []
    note = "" if code else "machine code not read: no disassembler"
    name = kernel.opcode
    if code:
        matching = [op for op in code.opcodes if re.fullmatch(kernel.opcode, op)]
        name = "/".join(sorted(matching)) or "/".join(_math_opcodes(code)) or "-"
        problems += _broken(kernel, code, spills) if status == "native" else []
    if status == "emulated":
        note = f"emulated: not a rate of the {kernel.dtype} unit"
    return Build(
        kernel=kernel.id,
        arch=arch.name,
        status=status,
        instruction=name,
        count=code.count(kernel.opcode) if code else None,
        registers=registers,
        spill_bytes=spills,
        shared_bytes=shared,
        wide_loads=code.wide_loads if code else None,
        note=note,
        problems=tuple(problems),
        module=module,
        opcodes=dict(code.opcodes) if code else None,
    )


def _broken(kernel: Kernel, code: sass.Sass, spills: int | None) -> list[str]:
    found = code.count(kernel.opcode)
    problems = []
    if found != kernel.count:
        problems.append(f"{found} x {kernel.opcode} where {kernel.count} were expected")
    if kernel.wide and code.wide_loads != kernel.wide:
        problems.append(f"{code.wide_loads} 128-bit loads where {kernel.wide} were expected")
    if code.local_memory or spills:
        problems.append(f"local memory: {code.local_memory} instructions, {spills} spilled bytes")
    return problems


def _math_opcodes(code: sass.Sass) -> list[str]:
    return sorted(op for op in code.opcodes if re.match(r"[A-Z]?G?MMA|[HIDBQO]G?MMA", op))


def build_all(
    kernels: Sequence[Kernel], arch: Arch, compiler: Compiler, *, use_cache: bool = True
) -> list[Build]:
    """Compiles kernels for one architecture and checks them; an unsupported pair is a row, not an error.

    The variants of a file share a translation unit; when that does not compile, each is tried alone.
    """
    rows: dict[str, Build] = {}
    files: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        if (status := kernel.support(arch)) in ("native", "emulated"):
            files.setdefault(kernel.source, []).append(kernel)
        else:
            rows[kernel.id] = Build(kernel.id, arch.name, "unsupported", note=status)
    for source, group in files.items():
        variants = tuple(k.define for k in group if k.define)
        module = build_module(compiler, source, variants, arch, use_cache=use_cache)
        alone = module.cubin is None and len(variants) > 1
        code = {} if module.cubin is None else sass.disassemble(module.cubin) or {}
        for kernel in group:
            if alone:
                module = build_module(compiler, source, (kernel.define,), arch, use_cache=use_cache)
                code = {} if module.cubin is None else sass.disassemble(module.cubin) or {}
            rows[kernel.id] = check(kernel, arch, module, code.get(kernel.entry))
    return [rows[kernel.id] for kernel in kernels]


def parse_archs(text: str, compiler: Compiler) -> list[Arch]:
    """``sm_80,sm_90a`` -> architectures the compiler knows; raises InputError naming the ones it knows."""
    known = compiler.archs()
    archs = [Arch.parse(part) for part in text.split(",") if part.strip()]
    if not archs:
        raise InputError("no architecture given (write --arch sm_86,sm_90a)")
    for arch in archs:
        if arch.number not in known:
            raise unknown("CUDA architecture", arch.name, [f"sm_{n}" for n in sorted(known)])
    return list(dict.fromkeys(archs))
