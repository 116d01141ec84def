"""Sweeps: every point equals its own analysis, exactly; axes say what they take; a lost worker loses nothing."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

from viewer import Decode, Generation, InputError, Prefill, analyze, sweep
from viewer.analysis import make_scenario
from viewer.whatif import axis_of, sweep_chunks

BASE = make_scenario("llama-2-13b", "nvidia/a6000", Decode())


@pytest.mark.parametrize(
    ("load", "axes"),
    [
        (Decode(), {"batch": "1:300:log:12", "context": "10:4000:lin:9"}),
        (Prefill(), {"prompt": "1:4000:log:17", "batch": [1, 3]}),
        (Generation(output=40), {"prompt": [16, 700], "batch": [1, 2, 9]}),
    ],
    ids=["decode", "prefill", "generate"],
)
def test_points_equal_single_analyses(load, axes):
    base = make_scenario("llama-3.1-8b", "nvidia/h100-sxm", load)
    frame = sweep(base, {**axes, "compression": ["w16a16", "w4a16-g128+kv8"]})
    for row in frame.sample(min(25, len(frame)), random_state=1).to_dict(orient="records"):
        point = {name: int(row[name]) for name in axes}
        single = analyze(base.with_(compression=row["compression"], workload=load.model_copy(update=point)))
        assert row["time_s"] == single.totals.time_s
        assert row["upper_time_s"] == single.totals.upper_time_s
        assert row["dram_bytes"] == single.totals.dram_bytes
        assert row["total_bytes"] == single.memory.total_bytes
        assert row["fits"] == single.memory.fits
        assert row["tokens_per_s"] == single.totals.tokens_per_s


def test_bandwidth_and_compute_axes():
    frame = sweep(BASE, {"bandwidth": ["768 GB/s", "1536 GB/s"]})
    # a decode step is memory-bound in every op: twice the bandwidth is half the time
    assert frame.time_s[0] == pytest.approx(2 * frame.time_s[1], rel=1e-12)
    assert frame.time_s[0] == analyze(BASE).totals.time_s
    frame = sweep(BASE.with_(workload=Prefill(prompt=4096)), {"compute_scale": [1.0, 2.0]})
    assert frame.compute_time_s[0] > 1.9 * frame.compute_time_s[1]


def test_row_order_and_chunks(monkeypatch):
    whole = sweep(BASE, {"batch": [1, 2, 3], "context": [10, 20, 30, 40]})
    monkeypatch.setattr("viewer.whatif.sweeping.CHUNK_POINTS", 5)
    pieces = list(sweep_chunks(BASE, {"batch": [1, 2, 3], "context": [10, 20, 30, 40]}))
    assert len(pieces) == 3
    assert np.array_equal(np.concatenate([p.time_s for p in pieces]), whole.time_s)
    assert list(whole.batch) == [1] * 4 + [2] * 4 + [3] * 4


class Dying(Executor):
    """Runs some tasks, loses others as a broken pool does."""

    def __init__(self):
        self.pool, self.count = ThreadPoolExecutor(1), 0

    def submit(self, function, /, *args, **kwargs):
        self.count += 1
        if self.count % 3 == 0:
            raise RuntimeError("pool is gone")
        if self.count % 3 == 1:
            lost: Future = Future()
            lost.set_exception(OSError("worker died"))
            return lost
        return self.pool.submit(function, *args, **kwargs)


def test_a_dying_worker_loses_nothing(monkeypatch):
    monkeypatch.setattr("viewer.whatif.sweeping.CHUNK_POINTS", 4)
    axes = {"batch": "1:40:lin:40", "compression": ["w16a16", "w8a8-int8"]}
    assert sweep(BASE, axes, executor=Dying()).equals(sweep(BASE, axes))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("batches=1,2", "did you mean 'batch'"),
        ("batch", "is not name="),
        ("batch=1:2:loq:3", "start:stop:log:count"),
        ("batch=0:10:log:3", "positive ends"),
        ("batch=1:10:lin:0", "0 points"),
        ("batch=a,b", "not a quantity"),
        ("bandwidth=5 GHz", "not a quantity in B/s"),
    ],
)
def test_bad_axes(spec, message):
    with pytest.raises(InputError, match=message):
        axis_of(spec)


def test_whole_axes_are_rounded_and_unique():
    assert list(axis_of("batch=1:4:log:9").values) == [1, 2, 3, 4]


def test_an_axis_of_another_phase_is_refused():
    with pytest.raises(InputError, match="phase decode has no prompt"):
        sweep(BASE, {"prompt": [1, 2]})
