"""Sweeps on a Dask cluster: its executor is a concurrent.futures executor, so nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from viewer.errors import InputError


@contextmanager
def cluster_executor(address: str, workers: int = 2) -> Iterator[Any]:
    """An executor on the scheduler at ``address``; ``local`` starts ``workers`` processes on this machine.

    A task whose worker dies is run again by the scheduler; what it gives up on is evaluated here (sweep). Raises
    InputError without the ``cluster`` extra or when the scheduler does not answer.
    """
    try:
        import distributed
    except ImportError:
        raise InputError("--cluster needs Dask: pip install 'roofline[cluster]'") from None
    dask: Any = distributed
    if address == "local":
        with (
            dask.LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
            ) as local,
            dask.Client(local) as client,
        ):
            yield client.get_executor(retries=3)
        return
    try:
        client = dask.Client(address, timeout=5)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(f"no Dask scheduler answers at {address[:80]!r}: {type(error).__name__}") from None
    with client:
        yield client.get_executor(retries=3)
