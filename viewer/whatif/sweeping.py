"""``sweep``: any numeric axes x any discrete ones, as one tidy frame (one row a point)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from concurrent.futures import Future as _Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from viewer.errors import InputError
from viewer.roofline import BOUNDS
from viewer.scenario import Scenario, scenario_from
from viewer.whatif.axes import RATES, WHOLE, Axis, make_axis
from viewer.whatif.grid import CHUNK_POINTS, evaluate_points

if TYPE_CHECKING:
    import pandas as pd

#: A frame of more rows is refused: write it to Parquet in pieces instead (sweep_chunks).
MAX_FRAME_ROWS = 50_000_000


@dataclass(frozen=True)
class Task:
    """One structure and a block of its numeric grid: what one worker evaluates."""

    scenario: str
    labels: tuple[tuple[str, str | float], ...]
    axes: tuple[tuple[str, Any], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per numeric axis."""
        return tuple(len(values) for _, values in self.axes) or (1,)

    @property
    def points(self) -> int:
        """Rows that the task yields."""
        return int(np.prod(self.shape))


def run_task(task: Task) -> dict[str, Any]:
    """Evaluate a task; a plain function of plain values, so that any executor can ship it."""
    rank = len(task.axes)
    grids = {}
    for position, (name, values) in enumerate(task.axes):
        shape = [1] * rank
        shape[position] = len(values)
        grids[name] = np.asarray(values, dtype=float).reshape(shape)
    return evaluate_points(scenario_from(task.scenario), grids, task.shape)


def sweep(
    scenario: Scenario,
    axes: dict[str, Any] | list[Axis],
    *,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """One row per point: the axes, time (bound), tokens/s, bytes, FLOPs, memory, ``bound`` and ``fits``.

    ``axes``: name -> values, or a spec such as ``"1:512:log:40"``. Discrete axes vary slowest. ``executor``: any
    concurrent.futures.Executor. ``progress(done, total)`` is called after each block. Raises InputError by name.
    """
    import pandas as pd

    tasks = tasks_of(scenario, axes)
    total = sum(t.points for t in tasks)
    if total > MAX_FRAME_ROWS:
        raise InputError(
            f"{total} points are too many for one frame (allowed: {MAX_FRAME_ROWS}); use Parquet output"
        )
    frames = list(sweep_chunks(scenario, axes, executor=executor, progress=progress))
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def sweep_chunks(
    scenario: Scenario,
    axes: dict[str, Any] | list[Axis],
    *,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[pd.DataFrame]:
    """The sweep as frames in order, one per structure and block of rows: bounded memory for any size."""
    tasks = tasks_of(scenario, axes)
    total, done = sum(t.points for t in tasks), 0
    for task, columns in zip(tasks, _results(tasks, executor), strict=True):
        done += task.points
        yield frame_of(task, columns)
        if progress is not None:
            progress(done, total)


def tasks_of(scenario: Scenario, axes: dict[str, Any] | list[Axis]) -> list[Task]:
    """The tasks of a sweep: discrete combinations x blocks of at most CHUNK_POINTS points."""
    given = axes if isinstance(axes, list) else [make_axis(name, values) for name, values in axes.items()]
    if not given:
        raise InputError("a sweep needs at least one axis")
    names = [axis.name for axis in given]
    if len(set(names)) != len(names):
        raise InputError(f"axis given twice: {next(n for n in names if names.count(n) > 1)}")
    discrete = [axis for axis in given if axis.discrete]
    numeric = [axis for axis in given if not axis.discrete]
    tasks = []
    for combination in itertools.product(*(axis.values for axis in discrete)):
        labels = tuple((axis.name, _label(value)) for axis, value in zip(discrete, combination, strict=True))
        chosen = _with(scenario, dict(labels))
        _check_axes(chosen, numeric)
        text = chosen.to_json()
        tasks += [Task(text, labels, block) for block in _blocks(numeric)]
    return tasks


def _label(value: Any) -> str | float:
    return value if isinstance(value, str) else float(value)


def _with(scenario: Scenario, labels: dict[str, Any]) -> Scenario:
    changes: dict[str, Any] = {k: int(v) if isinstance(v, float) else v for k, v in labels.items()}
    output = changes.pop("output", None)
    if output is not None:
        changes["workload"] = scenario.workload.model_copy(update={"output": max(1, output)})
    return scenario.with_(**changes) if changes else scenario


def _check_axes(scenario: Scenario, numeric: list[Axis]) -> None:
    fields = set(type(scenario.workload).model_fields)
    for axis in numeric:
        if axis.name not in fields and axis.name not in RATES:
            phase = scenario.workload.phase
            raise InputError(
                f"axis {axis.name}: phase {phase} has no {axis.name} (it has: {', '.join(sorted(fields))})"
            )


def _blocks(numeric: list[Axis]) -> Iterator[tuple[tuple[str, Any], ...]]:
    """Blocks of the grid: the slowest axes are cut so that a block stays below CHUNK_POINTS."""
    sizes = [len(axis.values) for axis in numeric]
    steps = list(sizes)
    for position in range(len(sizes)):
        rest = int(np.prod(steps[position + 1 :])) if position + 1 < len(steps) else 1
        steps[position] = max(1, min(sizes[position], CHUNK_POINTS // max(1, rest)))
        if steps[position] > 1:
            break
    ranges = [range(0, size, step) for size, step in zip(sizes, steps, strict=True)]
    for starts in itertools.product(*ranges):
        yield tuple(
            (axis.name, axis.values[start : start + step])
            for axis, start, step in zip(numeric, starts, steps, strict=True)
        )


def _results(tasks: list[Task], executor: Executor | None) -> Iterator[dict[str, Any]]:
    """Results in order. A block whose worker died or was cancelled is evaluated here: nothing is lost."""
    if executor is None:
        yield from map(run_task, tasks)
        return
    futures: list[_Future[dict[str, Any]] | None] = [_submit(executor, task) for task in tasks]
    for index, task in enumerate(tasks):
        yield _collect(futures[index], task)
        futures[index] = None


def _submit(executor: Executor, task: Task) -> Future[dict[str, Any]] | None:
    try:
        return executor.submit(run_task, task)
    except RuntimeError:  # a broken or closed pool
        return None


def _collect(future: Future[dict[str, Any]] | None, task: Task) -> dict[str, Any]:
    if future is None:
        return run_task(task)
    try:
        return future.result()
    except InputError:
        raise
    except (CancelledError, RuntimeError, OSError):
        return run_task(task)
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "distributed":  # KilledWorker, CommClosedError …
            return run_task(task)
        raise


def frame_of(task: Task, columns: dict[str, Any]) -> pd.DataFrame:
    """The rows of one task."""
    import pandas as pd

    data: dict[str, Any] = {}
    count = task.points
    for name, value in task.labels:
        if isinstance(value, str):
            data[name] = pd.Categorical.from_codes(
                np.zeros(count, dtype=np.int8), categories=pd.Index([value])
            )
        else:
            data[name] = np.full(count, int(value), dtype=np.int64)
    rank = len(task.axes)
    for position, (name, values) in enumerate(task.axes):
        shape = [1] * rank
        shape[position] = len(values)
        grid = np.broadcast_to(np.asarray(values).reshape(shape), task.shape).ravel()
        data[name] = grid.astype(np.int64) if name in WHOLE else grid
    for name, values in columns.items():
        if name == "bound":
            data[name] = pd.Categorical.from_codes(values, categories=pd.Index(BOUNDS))
        elif name == "fits":
            data[name] = (
                pd.array(values == 1, dtype="boolean")
                if values[0] >= 0
                else pd.array([pd.NA] * count, dtype="boolean")
            )
        else:
            data[name] = values
    return pd.DataFrame(data, copy=False)
