"""Sweeps on a local Dask cluster: equal to the serial sweep, also when a worker is killed in the middle."""

from __future__ import annotations

import os
import signal

import pytest

from viewer import Decode, InputError, sweep
from viewer.analysis import make_scenario
from viewer.cli import main
from viewer.whatif.cluster import cluster_executor

pytest.importorskip("distributed", reason="needs the cluster extra")
pytestmark = pytest.mark.slow

BASE = make_scenario("llama-2-13b", "nvidia/a6000", Decode())
AXES = {"batch": "1:300:lin:300", "context": "1:2000:lin:200", "compression": ["w16a16", "w4a16-g128"]}


@pytest.fixture(name="cluster")
def _cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        yield cluster


def test_a_killed_worker_loses_nothing(cluster, monkeypatch):
    from distributed import Client

    monkeypatch.setattr("viewer.whatif.sweeping.CHUNK_POINTS", 2000)  # 60 blocks
    done: list[int] = []
    with Client(cluster) as client:
        workers = client.run(os.getpid)
        assert len(workers) == 2

        def progress(points, _total):
            if not done:
                os.kill(next(iter(workers.values())), signal.SIGKILL)
            done.append(points)

        found = sweep(BASE, AXES, executor=client.get_executor(retries=3), progress=progress)
    assert len(done) == 60
    assert len(found) == 120_000
    assert found.equals(sweep(BASE, AXES))


def test_command_on_a_scheduler(cluster, capsys):
    arguments = ["sweep", "llama-2-13b", "a6000", "--axis", "batch=1:9:lin:9", "--csv"]
    assert main(arguments) == 0
    alone = capsys.readouterr().out
    assert main([*arguments, "--cluster", cluster.scheduler_address]) == 0
    assert capsys.readouterr().out == alone


def test_nobody_answers():
    with (
        pytest.raises(InputError, match="no Dask scheduler answers"),
        cluster_executor("tcp://127.0.0.1:9"),
    ):
        pass
