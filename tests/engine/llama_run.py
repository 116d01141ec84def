"""Times llama.cpp on a GGUF file through the low-level interface of its Python package; a process of its own.

``python tests/engine/llama_run.py FILE.gguf JSON`` with JSON = {"threads": [...], "prompts": [...], "contexts": [...],
"steps": n, "repeats": n}; prints one JSON object: {"rows": [...], "system": ...}. A row is {"phase", "length",
"threads", "seconds": [...]}.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import llama_cpp as ll


class Engine:
    """One model and one context of llama.cpp."""

    def __init__(self, path: str, length: int) -> None:
        ll.llama_backend_init()
        model_params = ll.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = ll.llama_model_load_from_file(path.encode(), model_params)
        if not self.model:
            raise SystemExit(f"llama.cpp does not load {path}")
        params = ll.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = length, 512, 512
        params.no_perf = True
        self.context = ll.llama_init_from_model(self.model, params)
        self.vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.length = 0
        self.batch = ll.llama_batch_init(512, 0, 1)

    def threads(self, count: int) -> None:
        """Threads of everything that follows."""
        ll.llama_set_n_threads(self.context, count, count)

    def keep(self, length: int) -> None:
        """Forgets all positions from ``length`` on."""
        self.length = min(self.length, length)
        memory = ll.llama_get_memory(self.context)
        ll.llama_memory_seq_rm(memory, 0, length, -1)

    def run(self, start: int, count: int) -> float:
        """Seconds of one step over positions start ... start + count - 1; logits of the last one only."""
        b = self.batch
        b.n_tokens = count
        for i in range(count):
            b.token[i] = (7919 * (start + i) + 13) % self.vocab
            b.pos[i] = start + i
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = 0
            b.logits[i] = i == count - 1
        begin = time.perf_counter()
        if ll.llama_decode(self.context, b) != 0:
            raise SystemExit("llama_decode failed")
        ll.llama_synchronize(self.context)
        self.length = start + count
        return time.perf_counter() - begin

    def fill(self, length: int) -> None:
        """Positions 0 ... length - 1; those that are there stay."""
        self.keep(length)
        while self.length < length:
            self.run(self.length, min(512, length - self.length))


def measure(engine: Engine, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the plan: prompts from an empty cache, decode steps at contexts (the step's own token excluded)."""
    rows = []
    engine.threads(max(plan["threads"]))
    engine.fill(64)  # pages, caches, clocks
    for prompt in plan["prompts"]:
        for threads in plan["threads"]:
            engine.threads(threads)
            seconds = []
            for _ in range(plan["repeats"] if prompt <= 256 else 1):
                engine.keep(0)
                seconds.append(engine.run(0, prompt))
            rows.append({"phase": "prefill", "length": prompt, "threads": threads, "seconds": seconds})
    for context in sorted(plan["contexts"], reverse=True):
        engine.threads(max(plan["threads"]))
        engine.fill(context)
        for threads in plan["threads"]:
            engine.threads(threads)
            seconds = []
            for _ in range(plan["steps"] + 1):
                engine.keep(context)
                seconds.append(engine.run(context, 1))
            rows.append({"phase": "decode", "length": context, "threads": threads, "seconds": seconds[1:]})
    return rows


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The engine's log lines (file descriptor 2) into nothing."""
    keep, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(keep, 2)


def main() -> None:
    """Entry point of the process."""
    path, plan = sys.argv[1], json.loads(sys.argv[2])
    longest = max([*plan["prompts"], *(c + 1 for c in plan["contexts"])])
    with quiet() if not plan.get("verbose") else contextlib.nullcontext():
        engine = Engine(path, -(-longest // 256) * 256 + 256)
        rows = measure(engine, plan)
        system = ll.llama_print_system_info()
    text = ctypes.cast(system, ctypes.c_char_p).value if not isinstance(system, bytes) else system
    print(json.dumps({"rows": rows, "system": (text or b"").decode(), "version": ll.__version__}))


if __name__ == "__main__":
    main()
