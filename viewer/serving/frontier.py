"""Which layout and how many requests at once: every layout of some devices x every batch, the Pareto front, goodput.

A row is one layout at one batch. tokens/s per user is what a reader sees (1 / TPOT); tokens/s per device is what the
owner pays for. Goodput is the largest rate of requests within a service-level objective.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from viewer.energy import cost_per_million_tokens, energy_bound_j
from viewer.errors import InputError
from viewer.models import load_model
from viewer.models.blocks.moe import MoESpec
from viewer.planned import plan_of
from viewer.scenario import Scenario
from viewer.serving.latency import Requests, Service, static_service, steady_service

if TYPE_CHECKING:
    import pandas as pd

#: Batch sizes of a search: powers of two and their middles up to 4096.
BATCHES: tuple[int, ...] = tuple(sorted({2**i for i in range(13)} | {3 * 2**i for i in range(11)}))
COLUMNS = (
    "tp", "pp", "ep", "dp", "devices", "batch", "ttft_s", "tpot_s", "e2e_s", "tokens_per_s", "tokens_per_s_per_user",
    "tokens_per_s_per_device", "requests_per_s", "sustained", "total_bytes", "fits", "meets_slo", "pareto",
    "energy_bound_j_per_token", "cost_per_million_tokens", "label",
)  # fmt: skip


def layouts(devices: int, experts: bool = False) -> list[dict[str, int]]:
    """All (tp, pp, ep, dp) with tp * pp * dp = devices; with experts also ep = tp and ep = tp * dp."""
    if not 1 <= devices <= 4096:
        raise InputError(f"devices={devices} is out of range (allowed: 1 to 4096)")
    found = []
    for tp in _divisors(devices):
        for pp in _divisors(devices // tp):
            dp = devices // tp // pp
            spreads = sorted({1, tp, tp * dp}) if experts else [1]
            found += [{"tp": tp, "pp": pp, "ep": ep, "dp": dp} for ep in spreads]
    return found


def _divisors(value: int) -> list[int]:
    return [d for d in range(1, value + 1) if value % d == 0]


def has_experts(model: str) -> bool:
    """Whether any layer of the model routes tokens to experts."""
    return any(isinstance(layer.ffn, MoESpec) for layer in load_model(model).layers)


def frontier(
    base: Scenario,
    requests: Requests,
    *,
    devices: int | None = None,
    tried: Iterable[dict[str, int]] | None = None,
    batches: Sequence[int] = BATCHES,
    mode: str = "continuous",
    ttft_slo_s: float | None = None,
    tpot_slo_s: float | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """One row per layout and batch, and the layouts that cannot be, with the reason.

    ``base`` gives model, hardware, compression and assumptions. Layouts are ``tried``, or all of ``devices``, or the
    one of ``base``. ``mode``: continuous or static batching. A point that does not fit is a row with ``fits`` = 0.
    """
    if mode not in ("continuous", "static"):
        raise InputError(f"mode {mode!r} is not known (allowed: continuous, static)")
    chosen = list(tried) if tried is not None else None
    if chosen is None:
        chosen = layouts(devices, has_experts(base.model)) if devices else [{}]
    import pandas as pd

    frames, refused = [], []
    for layout in chosen:
        scenario = base.with_(**layout) if layout else base
        try:
            frames.append(_rows(scenario, requests, batches, mode))
        except InputError as error:
            refused.append(f"{_name(scenario)}: {error}")
    if not frames:
        raise InputError(refused[0] if refused else "no layout to try")
    frame = pd.concat(frames, ignore_index=True)
    good = frame["fits"].ne(0) & frame["sustained"]
    frame["meets_slo"] = good & _within(frame["ttft_s"], ttft_slo_s) & _within(frame["tpot_s"], tpot_slo_s)
    frame["pareto"] = pareto(
        frame["tokens_per_s_per_user"].to_numpy(),
        frame["tokens_per_s_per_device"].to_numpy(),
        good.to_numpy(),
    )
    return frame[list(COLUMNS)], refused


def _name(scenario: Scenario) -> str:
    p = scenario.parallel
    return f"tp={p.tp} pp={p.pp} ep={p.ep} dp={p.replicas}"


def _within(values: Any, limit: float | None) -> Any:
    return values <= limit if limit is not None else values.notna()


def _rows(scenario: Scenario, requests: Requests, batches: Sequence[int], mode: str) -> pd.DataFrame:
    import pandas as pd

    p, a = scenario.parallel, scenario.assumptions
    usable = [b for b in batches if b >= p.replicas]
    if not usable:
        raise InputError(f"no batch size of at least {p.replicas}, one request for each replica")
    service: Service = (steady_service if mode == "continuous" else static_service)(
        scenario, usable, requests
    )
    tdp = plan_of(scenario).hardware.tdp_w
    watts = np.nan if tdp is None else float(tdp.value)
    price = np.nan if a.price_per_hour is None else a.price_per_hour
    rate = service.tokens_per_s
    return pd.DataFrame(
        {
            "tp": p.tp, "pp": p.pp, "ep": p.ep, "dp": p.replicas, "devices": p.devices,
            "batch": service.batch.astype(np.int64),
            "ttft_s": service.ttft_s, "tpot_s": service.tpot_s, "e2e_s": service.e2e_s,
            "tokens_per_s": rate,
            "tokens_per_s_per_user": 1.0 / service.tpot_s,
            "tokens_per_s_per_device": rate / p.devices,
            "requests_per_s": service.requests_per_s,
            "sustained": service.sustained,
            "total_bytes": service.total_bytes,
            "fits": service.fits,
            "energy_bound_j_per_token": energy_bound_j(watts, 1.0 / rate, p.devices),
            "cost_per_million_tokens": cost_per_million_tokens(price, p.devices, rate),
            "label": a.fidelity,
        }
    )  # fmt: skip


def pareto(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Points that no other allowed point beats in one respect without losing in the other (larger is better)."""
    front = np.zeros(first.shape, dtype=bool)
    order = np.lexsort((-second, -first))
    best = -np.inf
    for index in order:
        if allowed[index] and second[index] > best:
            front[index] = True
            best = second[index]
    return front


def goodput(frame: pd.DataFrame) -> dict[str, Any] | None:
    """The row with the most requests/s per device within the objective; None where no row meets it."""
    meeting = frame[frame["meets_slo"]]
    if meeting.empty:
        return None
    best = (meeting["requests_per_s"] / meeting["devices"]).idxmax()
    return {str(name): value for name, value in meeting.loc[[best]].to_dict("records")[0].items()}
