"""What is in the wheel and in the source archive: code and data, and nothing else."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from tests.support import REPO

pytest.importorskip("hatchling")
DATA = {".yaml", ".json", ".cu", ".cuh", ".c", ".h", ".css", ".js", ".svg", ".png", ".typed"}


@pytest.fixture(scope="module", name="wheel")
def _wheel(tmp_path_factory):
    from hatchling.builders.wheel import WheelBuilder

    (path,) = WheelBuilder(str(REPO)).build(directory=str(tmp_path_factory.mktemp("wheel")))
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist()), archive.read(
            next(n for n in archive.namelist() if n.endswith("/METADATA"))
        )


def shipped(*folders):
    """Files of the tree that a user of the library needs: code and its data."""
    for folder in folders:
        for path in (REPO / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix in {".py", *DATA}:
                yield path.relative_to(REPO).as_posix()


def test_wheel_has_all_code_and_data(wheel):
    names, _ = wheel
    assert set(shipped("viewer", "hardware_specs")) <= names
    assert {"viewer/" + name for name in shipped("assets")} <= names
    assert {"viewer/py.typed", "hardware_specs/py.typed"} <= names


def test_wheel_has_nothing_else(wheel):
    names, metadata = wheel
    tops = {PurePosixPath(name).parts[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"viewer", "hardware_specs"}
    assert not [
        n for n in names if "test" in PurePosixPath(n).parts or "__pycache__" in n or n.endswith(".pyc")
    ]
    assert not [n for n in names if PurePosixPath(n).suffix not in {".py", *DATA} and ".dist-info/" not in n]
    assert b"\nRequires-Python: >=3.11\n" in metadata


def test_source_archive_can_be_tested(tmp_path):
    from hatchling.builders.sdist import SdistBuilder

    (path,) = SdistBuilder(str(REPO)).build(directory=str(tmp_path))
    with tarfile.open(path) as archive:
        names = {PurePosixPath(*PurePosixPath(n).parts[1:]).as_posix() for n in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "app.py", "docs/generate.py"} <= names
    assert {"tests/support.py", "assets/style.css", "viewer/py.typed"} <= names
    assert not [n for n in names if "__pycache__" in n or n.endswith(".pyc")]
