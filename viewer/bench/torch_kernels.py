"""Library kernels at the shapes of LLM layers, through PyTorch: the table that predictions are scored on.

Optional: without torch, or without a GPU, there is nothing to do and a line says so. Each kernel is timed cold
(operands rotated through more than twice the L2) and warm (one set), as launches and as a replayed graph. Rows are
the neutral table of ``roofline predict | validate | calibrate``.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from viewer.bench.statistics import QUICK, StopRule, collect, quantile

Report = Callable[[str], None]
Row = dict[str, Any]

# (n, k) of the projections of Llama 3.1 8B and 70B: qkv, o, gate+up, down
WEIGHTS = (
    (6144, 4096),
    (4096, 4096),
    (28672, 4096),
    (4096, 14336),
    (10240, 8192),
    (8192, 8192),
    (57344, 8192),
    (8192, 28672),
)
TOKENS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
HEADS = ((32, 8, 128), (64, 8, 128))
ROWS = (1, 16, 128, 1024, 8192)
ROTATE = 2.5  # times the L2: beyond it nothing of the last use is left
GRAPH_LAUNCHES = 20


@dataclass(frozen=True, slots=True)
class Case:
    """One kernel: its columns of the table, bytes of one operand set, and ``make`` -> a call on fresh operands."""

    columns: Row
    set_bytes: int
    make: Callable[[Any], Callable[[], Any]]
    check: Callable[[Any], float] | None = None


def cases(torch: Any, *, quick: bool) -> Iterator[Case]:
    """Every case that the installed torch and the device support are tried by the caller; failures are skipped."""
    weights, tokens = (WEIGHTS[:2], (1, 128, 2048)) if quick else (WEIGHTS, TOKENS)
    for n, k in weights:
        for m in tokens:
            yield from gemm_cases(torch, m, n, k)
    for heads in HEADS[: 1 if quick else None]:
        for seq in (1024,) if quick else (512, 1024, 2048, 4096, 8192):
            yield prefill_case(torch, 1, seq, *heads)
        for batch in (1, 16) if quick else (1, 4, 16, 64):
            for seq in (4096,) if quick else (1024, 4096, 16384):
                yield decode_case(torch, batch, seq, *heads)
    for rows in ROWS[:2] if quick else ROWS:
        for width in (4096, 8192):
            yield from elementwise_cases(torch, rows, width)


def _gemm(act: str, weight: str, out: str, m: int, n: int, k: int) -> Row:
    return {
        "op": "gemm",
        "act_format": act,
        "weight_format": weight,
        "out_format": out,
        "m": m,
        "n": n,
        "k": k,
    }


def gemm_cases(torch: Any, m: int, n: int, k: int) -> Iterator[Case]:
    """bf16 and fp16 (mm), fp8 (_scaled_mm), int8 (_int_mm), 2:4 bf16 (to_sparse_semi_structured)."""

    def plain(kind: Any) -> Callable[[Any], Callable[[], Any]]:
        def make(generator: Any) -> Callable[[], Any]:
            x = torch.randn(m, k, device="cuda", dtype=kind, generator=generator)
            w = torch.randn(n, k, device="cuda", dtype=kind, generator=generator)
            y = torch.empty(m, n, device="cuda", dtype=kind)
            return lambda: torch.mm(x, w.t(), out=y)

        return make

    for name, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        yield Case(_gemm(name, name, name, m, n, k), 2 * (m * k + n * k + m * n), plain(kind))

    def fp8(generator: Any) -> Callable[[], Any]:
        x = torch.randn(m, k, device="cuda", generator=generator).to(torch.float8_e4m3fn)
        w = torch.randn(n, k, device="cuda", generator=generator).to(torch.float8_e4m3fn)
        one = torch.ones((), device="cuda")
        return lambda: torch._scaled_mm(x, w.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)

    def int8(generator: Any) -> Callable[[], Any]:
        x = torch.randint(-127, 128, (m, k), device="cuda", dtype=torch.int8, generator=generator)
        w = torch.randint(-127, 128, (n, k), device="cuda", dtype=torch.int8, generator=generator)
        return lambda: torch._int_mm(x, w.t())

    def sparse(generator: Any) -> Callable[[], Any]:
        from torch.sparse import to_sparse_semi_structured

        w = torch.randn(n, k, device="cuda", dtype=torch.bfloat16, generator=generator)
        mask = torch.tensor([1, 1, 0, 0], device="cuda", dtype=torch.bool).repeat(n, k // 4)
        compressed = to_sparse_semi_structured(w * mask)
        x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16, generator=generator)
        return lambda: torch.mm(compressed, x.t())

    yield Case(_gemm("fp8_e4m3", "fp8_e4m3", "bf16", m, n, k), m * k + n * k + 2 * m * n, fp8)
    if m > 16:  # _int_mm takes no fewer rows
        yield Case(_gemm("int8", "int8", "int32", m, n, k), m * k + n * k + 4 * m * n, int8)
    if m % 8 == 0 and m >= 64:
        # stored: half the values and 2 bits of index for each kept one
        stored = n * k + n * k // 8
        columns = _gemm("bf16", "bf16", "bf16", m, n, k) | {"library": "cusparselt-2:4"}
        yield Case(columns, 2 * m * k + stored + 2 * m * n, sparse)


def _attention(op: str, batch: int, seq: int, heads: int, kv_heads: int, dim: int) -> Row:
    return {
        "op": op, "act_format": "bf16", "kv_format": "bf16", "batch": batch, "seq": seq, "n_heads": heads,
        "n_kv_heads": kv_heads, "head_dim": dim, "window": 0,
    }  # fmt: skip


def _sdpa(torch: Any, shape_q: tuple[int, ...], shape_kv: tuple[int, ...], *, causal: bool) -> Any:
    def make(generator: Any) -> Callable[[], Any]:
        q, k, v = (
            torch.randn(s, device="cuda", dtype=torch.bfloat16, generator=generator)
            for s in (shape_q, shape_kv, shape_kv)
        )
        attend = torch.nn.functional.scaled_dot_product_attention
        return lambda: attend(q, k, v, is_causal=causal, enable_gqa=shape_q[1] != shape_kv[1])

    return make


def prefill_case(torch: Any, batch: int, seq: int, heads: int, kv_heads: int, dim: int) -> Case:
    """Causal attention of whole prompts."""
    q, kv = (batch, heads, seq, dim), (batch, kv_heads, seq, dim)
    size = 2 * (2 * math.prod(q) + 2 * math.prod(kv))
    columns = _attention("attention_prefill", batch, seq, heads, kv_heads, dim)
    return Case(columns, size, _sdpa(torch, q, kv, causal=True))


def decode_case(torch: Any, batch: int, seq: int, heads: int, kv_heads: int, dim: int) -> Case:
    """One new token per request over ``seq`` positions."""
    q, kv = (batch, heads, 1, dim), (batch, kv_heads, seq, dim)
    size = 2 * (2 * math.prod(q) + 2 * math.prod(kv))
    columns = _attention("attention_decode", batch, seq, heads, kv_heads, dim)
    return Case(columns, size, _sdpa(torch, q, kv, causal=False))


def elementwise_cases(torch: Any, rows: int, width: int) -> Iterator[Case]:
    """Norms, SiLU*mul, add, RoPE, softmax, embedding in bf16."""
    functional = torch.nn.functional

    def tensors(generator: Any, count: int) -> list[Any]:
        shape = (rows, width)
        return [
            torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=generator) for _ in range(count)
        ]

    def norm(name: str) -> Callable[[Any], Callable[[], Any]]:
        def make(generator: Any) -> Callable[[], Any]:
            (x,) = tensors(generator, 1)
            weight = torch.ones(width, device="cuda", dtype=torch.bfloat16)
            return lambda: getattr(functional, name)(x, (width,), weight)

        return make

    def silu_mul(generator: Any) -> Callable[[], Any]:
        x, y = tensors(generator, 2)
        fused = torch.compile(lambda a, b: functional.silu(a) * b, dynamic=False)
        return lambda: fused(x, y)

    def add(generator: Any) -> Callable[[], Any]:
        x, y = tensors(generator, 2)
        return lambda: torch.add(x, y)

    def rope(generator: Any) -> Callable[[], Any]:
        x, cos, sin = tensors(generator, 3)
        half = width // 2

        def rotate(a: Any, c: Any, s: Any) -> Any:
            turned = torch.cat((-a[..., half:], a[..., :half]), -1)
            return a * c + turned * s

        fused = torch.compile(rotate, dynamic=False)
        return lambda: fused(x, cos, sin)

    def softmax(generator: Any) -> Callable[[], Any]:
        (x,) = tensors(generator, 1)
        return lambda: torch.softmax(x, -1)

    def embedding(generator: Any) -> Callable[[], Any]:
        table = torch.randn((32768, width), device="cuda", dtype=torch.bfloat16, generator=generator)
        tokens = torch.randint(0, 32768, (rows,), device="cuda", generator=generator)
        return lambda: functional.embedding(tokens, table)

    line = 2 * rows * width
    kinds: tuple[tuple[str, int, Callable[[Any], Callable[[], Any]]], ...] = (
        ("rmsnorm", 2 * line, norm("rms_norm")),
        ("layernorm", 2 * line, norm("layer_norm")),
        ("silu_mul", 3 * line, silu_mul),
        ("add", 3 * line, add),
        ("rope", 4 * line, rope),
        ("softmax", 2 * line, softmax),
        ("embedding", 2 * line, embedding),
    )
    for kind, size, make in kinds:
        columns = {"op": "elementwise", "kind": kind, "rows": rows, "width": width, "act_format": "bf16"}
        yield Case(columns, size, make)


# --- timing -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class TorchTimer:
    """Times calls with events, launch by launch or as a graph replayed. ``torch`` may be a stand-in."""

    torch: Any
    l2_bytes: int
    rule: StopRule
    hardware: str
    seed: int
    failures: list[str] = field(default_factory=list)

    def rows(self, one: Case) -> Iterator[Row]:
        """One row per cache state and launch mode; a case that this device or torch refuses gives none."""
        generator = self.torch.Generator(device="cuda")
        generator.manual_seed(self.seed)
        copies = min(64, max(2, math.ceil(ROTATE * self.l2_bytes / one.set_bytes)))
        try:
            calls = [one.make(generator) for _ in range(copies)]
            for call in calls:
                call()
            self.torch.cuda.synchronize()
            for l2, chosen in (("cold", calls), ("warm", calls[:1])):
                for launch, seconds in (("eager", self._eager(chosen)), ("graph", self._graph(chosen))):
                    yield self._row(one, l2, launch, len(chosen), seconds)
        except (
            RuntimeError,
            NotImplementedError,
            ImportError,
            AttributeError,
            TypeError,
            ValueError,
        ) as error:
            what = " ".join(str(v) for v in one.columns.values())
            self.failures.append(
                f"{what}: {type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
            )

    def _row(self, one: Case, l2: str, launch: str, copies: int, seconds: float) -> Row:
        base: Row = {"hardware": self.hardware, "library": "torch"}
        more = {
            "weight_copies": copies,
            "launch": launch,
            "l2": l2,
            "includes": "",
            "time_us": seconds * 1e6,
            "source": f"roofline bench cuda, torch {self.torch.__version__}",
            "series": f"torch-{launch}-{l2}",
        }
        return base | one.columns | more

    def _timed(self, work: Callable[[], None], calls: int) -> float:
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return max(float(begin.elapsed_time(end)) * 1e-3 / calls, 1e-9)

    def _median(self, work: Callable[[], None], calls: int) -> float:
        self._timed(work, calls)
        # the rule counts seconds of batches: hand it the whole batch, then divide
        sampling = collect(lambda: [self._timed(work, calls) * calls], self.rule)
        return quantile(sorted(sampling.seconds), 0.5) / calls

    def _eager(self, chosen: list[Callable[[], Any]]) -> float:
        count = max(GRAPH_LAUNCHES, len(chosen))

        def work() -> None:
            for i in range(count):
                chosen[i % len(chosen)]()

        return self._median(work, count)

    def _graph(self, chosen: list[Callable[[], Any]]) -> float:
        count = max(GRAPH_LAUNCHES, len(chosen))
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            for i in range(count):
                chosen[i % len(chosen)]()
        return self._median(graph.replay, count)


def table(torch: Any, timer: TorchTimer, chosen: Iterable[Case]) -> Iterator[Row]:
    """Rows of all cases, memory given back between them."""
    for one in chosen:
        yield from timer.rows(one)
        torch.cuda.empty_cache()


def find_torch() -> Any:
    """torch with a usable GPU, or None."""
    try:
        import torch
    except Exception:  # absent, or broken in one of many ways
        return None
    return torch if torch.cuda.is_available() else None


def stream(quick: bool, device: int, seed: int, report: Report) -> None:
    """Runs all cases in this process; each row is one JSON line on stdout."""
    torch = find_torch()
    if torch is None:
        report("library kernels: skipped, torch with CUDA is not installed")
        return
    torch.cuda.set_device(device)
    facts = torch.cuda.get_device_properties(device)
    rule = QUICK if quick else StopRule(min_samples=30, min_seconds=0.2, max_seconds=2.0)
    timer = TorchTimer(torch, int(getattr(facts, "L2_cache_size", 64 << 20)), rule, str(facts.name), seed)
    for row in table(torch, timer, cases(torch, quick=quick)):
        sys.stdout.write(json.dumps({"kernel_row": row}) + "\n")
        sys.stdout.flush()
    for failure in timer.failures[:20]:
        report(f"library kernel skipped: {failure}")
