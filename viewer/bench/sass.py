"""Reads the machine code of a cubin: which instructions a kernel really consists of."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SECTION = re.compile(r"^\s*(?:\.section\s+\.text\.(\w+)|\s*Function : (\w+))")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Za-z0-9_.]*)([^;]*)")


@dataclass(frozen=True, slots=True)
class Sass:
    """The opcode histogram of one kernel."""

    opcodes: Counter[str]

    def count(self, pattern: str) -> int:
        """Instructions whose whole opcode matches the regular expression."""
        return sum(n for op, n in self.opcodes.items() if re.fullmatch(pattern, op))

    @property
    def local_memory(self) -> int:
        """Loads and stores of local memory (spills or indexed register arrays)."""
        return self.count(r"(LDL|STL)(\..*)?")

    @property
    def wide_loads(self) -> int:
        """Loads of 16 bytes per thread from the global path (L1 bypassed) or from shared memory."""
        return self.count(r"LDG\.E\.128\.STRONG\.GPU|LDS\.128")


@cache
def find_disassembler() -> tuple[str, str] | None:
    """(``nvdisasm`` or ``cuobjdump``, path): from PATH, CUDA_HOME or the nvidia wheels; else None."""
    folders = [Path(os.environ[v]) / "bin" for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    spec = importlib.util.find_spec("nvidia")
    for base in (spec.submodule_search_locations or []) if spec else []:
        folders += sorted(Path(base).glob("*/bin"))
    folders.append(Path("/usr/local/cuda/bin"))
    for tool in ("nvdisasm", "cuobjdump"):
        if path := shutil.which(tool):
            return tool, path
        for folder in folders:
            if path := shutil.which(tool, path=str(folder)):
                return tool, path
    return None


def parse(text: str) -> dict[str, Sass]:
    """Disassembly text (nvdisasm -c or cuobjdump -sass) -> kernel name -> Sass. NOP padding is dropped."""
    kernels: dict[str, Counter[str]] = {}
    current: Counter[str] | None = None
    for line in text.splitlines():
        if section := _SECTION.match(line):
            current = kernels.setdefault(section[1] or section[2], Counter())
        elif current is not None and (found := _INSTRUCTION.match(line)) and found[1] != "NOP":
            # "HFMA2 R3, -RZ, RZ, c, c" only materialises a constant: arithmetic in name alone
            current["MOV" if "-RZ, RZ," in found[2] else found[1]] += 1
    return {name: Sass(ops) for name, ops in kernels.items()}


def disassemble(cubin: bytes) -> dict[str, Sass] | None:
    """kernel name -> Sass, or None where no disassembler is installed or it refuses the file."""
    tool = find_disassembler()
    if tool is None:
        return None
    name, path = tool
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        flag = "-c" if name == "nvdisasm" else "-sass"
        done = subprocess.run(
            [path, flag, str(file)], capture_output=True, text=True, timeout=120, check=False
        )
    return parse(done.stdout) if done.returncode == 0 else None
