"""The house: arrows between its rooms point one way, leaves stay leaves, files and functions stay short."""

from __future__ import annotations

import ast
import functools

import pytest

from tests.support import REPO

FILES = sorted([*REPO.glob("viewer/**/*.py"), *REPO.glob("hardware_specs/**/*.py"), REPO / "app.py"])
IDS = [path.relative_to(REPO).as_posix() for path in FILES]
MAX_LINES, MAX_BODY_LINES = 400, 50


@functools.cache
def tree(path):
    return ast.parse(path.read_text("utf-8"))


def room(path):
    """``viewer/ops/linear.py`` -> ``ops``; ``hardware_specs`` and ``app`` are rooms of their own."""
    parts = path.relative_to(REPO).with_suffix("").parts
    return parts[1] if parts[0] == "viewer" and len(parts) > 1 else parts[0]


def imported(path, *, lazy=False):
    """Modules that a file imports when it is loaded; with ``lazy`` also those inside functions (not type hints)."""
    body = list(tree(path).body)
    found = set()
    while body:
        node = body.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {
                f"{node.module}.{a.name}" for a in node.names if node.module == "viewer"
            }
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


def rooms_of(modules):
    """The rooms that modules belong to; others are not of this house."""
    rooms = set()
    for module in modules:
        parts = module.split(".")
        if parts[0] == "hardware_specs":
            rooms.add("hardware_specs")
        elif parts[0] == "viewer" and len(parts) > 1 and parts[1] != "__version__":
            rooms.add(parts[1])
    return rooms


def test_no_arrow_between_rooms_points_back():
    """Imports at load time make no circle: there is an order in which every room stands on earlier ones."""
    arrows: dict[str, set[str]] = {}
    for path in FILES:
        if path != REPO / "viewer" / "__init__.py":
            arrows.setdefault(room(path), set()).update(rooms_of(imported(path)) - {room(path)})
    left = dict(arrows)
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"a circle among {sorted(left)}"
        for name in free:
            del left[name]


LOW = [
    "units",
    "formats",
    "sparsity",
    "workload",
    "graph",
    "ops",
    "models",
    "fusion",
    "precision",
    "roofline",
]
HIGH = {"analysis", "whatif", "validate", "charts", "report", "cli", "dashboard", "bench"}


@pytest.mark.parametrize("name", [*LOW, "hardware_specs"])
def test_lower_rooms_know_no_higher_ones(name):
    """Not even inside functions."""
    for path in FILES:
        if room(path) == name:
            assert not rooms_of(imported(path, lazy=True)) & HIGH, path


def test_counts_know_no_hardware_and_hardware_knows_nothing():
    for path in FILES:
        needs = rooms_of(imported(path, lazy=True))
        if room(path) == "ops":
            assert "hardware_specs" not in needs, path
        if room(path) == "hardware_specs":
            assert needs <= {"hardware_specs"}, path
        if room(path) == "charts":
            assert needs <= {"charts", "units", "results"}, path


def test_dash_stays_in_the_dashboard():
    for path in FILES:
        modules = {m.split(".")[0] for m in imported(path, lazy=True)}
        if modules & {"dash", "dash_ag_grid", "dash_mantine_components"}:
            assert room(path) in ("dashboard", "app"), path


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_files_are_short_and_documented(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= MAX_LINES
    assert ast.get_docstring(tree(path)) or not text.strip()
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} says nothing"
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            lines = body_lines(node)
            assert lines <= MAX_BODY_LINES, f"{node.name}: {lines} lines"


def body_lines(function):
    """Lines of a function's statements, without signature, docstring and functions inside it."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not body:
        return 0
    inner = [n for n in ast.walk(function) if isinstance(n, ast.FunctionDef) and n is not function]
    inside = {line for n in inner for line in range(n.lineno, n.end_lineno + 1)}
    return sum(line not in inside for line in range(body[0].lineno, body[-1].end_lineno + 1))
