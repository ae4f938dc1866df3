"""The house: who may import whom, what is public, what an import costs, what a wheel holds."""

from __future__ import annotations

import ast
import graphlib
import importlib.metadata
import importlib.util
import subprocess
import sys
import tarfile
import venv
import zipfile
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

import durably
from house import IMPORTS, MODULES, PACKAGE, RANKS, room

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = PACKAGE.parent.parent

# Where the running system may be asked for: the choice, the binding of native calls, the tests' seam;
# in _macos.py for the type checkers alone.
NAMES_SYSTEMS = {
    "_commit/__init__.py",
    "_commit/macos/strategy.py",
    "_system/native/darwin.py",
    "_system/native/win32.py",
    "_system/native/win32_dll.py",
    "_system/syscalls.py",
    "testing.py",
}
PUBLIC_ROOMS = {"testing", "filesystem", "stores"}
HEAVY = {
    "contextlib",
    "ctypes",
    "dataclasses",
    "inspect",
    "pathlib",
    "re",
    "shutil",
    "subprocess",
    "tempfile",
    "typing",
}


def rank(module: str) -> int:
    return next(number for number, rooms in enumerate(RANKS) if room(module) in rooms)


def test_every_room_has_a_rank() -> None:
    ranked = [name for rooms in RANKS for name in rooms]
    assert sorted(ranked) == sorted({room(module) for module in MODULES})


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_run_downwards_only(module: str) -> None:
    upwards = {
        target for target in IMPORTS[module] if room(target) != room(module) and rank(target) >= rank(module)
    }
    assert not upwards


def test_imports_run_in_no_circle() -> None:
    graphlib.TopologicalSorter({module: IMPORTS[module] - {module} for module in MODULES}).prepare()


def test_rooms_are_private_but_for_the_public_ones() -> None:
    rooms = {room(module) for module in MODULES}
    assert {name for name in rooms if not name.startswith("_")} <= PUBLIC_ROOMS


def test_one_file_chooses_by_the_running_system() -> None:
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for module, path in MODULES.items()
        if room(module) != "_cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.platform", "os.name")
    }
    assert asking <= NAMES_SYSTEMS


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'batch'"):
        durably.batch  # type: ignore[attr-defined] # noqa: B018 # that is the check


def test_the_exported_names_are_those_that_are_there() -> None:
    there = {
        name
        for name in dir(durably)
        if not name.startswith("_") and not isinstance(getattr(durably, name), ModuleType)
    }
    assert durably.__all__ == sorted(there)
    assert durably.__all__ == [
        "AtomicWriter",
        "Batch",
        "BatchError",
        "BatchReceipt",
        "Durability",
        "Guarantees",
        "NotDurableError",
        "OutcomeUnknownError",
        "Receipt",
        "RecoveryConflictError",
        "RecoveryNeededError",
        "TornError",
        "Transaction",
        "UnsupportedError",
        "atomic_write",
        "open",
        "probe",
        "recover",
        "staged_directory",
        "staged_path",
        "sweep",
        "write_bytes",
        "write_text",
    ]


@pytest.mark.parametrize("name", durably.__all__)
def test_every_exported_name_is_documented(name: str) -> None:
    assert getattr(durably, name).__doc__


def test_the_version_is_the_distributions() -> None:
    assert importlib.metadata.version("durably") == durably.__version__


def imported_by(statement: str) -> set[str]:
    """What a statement loads in an interpreter that has loaded nothing but itself."""
    script = (
        "import sys\n"
        f"sys.path.insert(0, {str(PACKAGE.parent)!r})\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        "print(*set(sys.modules) - before)\n"
    )
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", script]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_importing_durably_loads_no_third_party_and_no_heavy_module() -> None:
    loaded = imported_by("import durably")
    assert "durably._api.oneshot" in loaded
    assert {name.partition(".")[0] for name in loaded} <= {"durably"} | sys.stdlib_module_names
    assert not loaded & HEAVY


def test_the_command_line_is_not_loaded_by_the_package() -> None:
    assert not any(name.startswith("durably._cli") for name in imported_by("import durably, durably.testing"))


def test_the_file_system_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.compression", None)
    for name in ("durably.filesystem", "durably._fsspec.filesystem"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'durably\[fsspec\]'"):
        importlib.import_module("durably.filesystem")


def test_what_else_the_file_system_lacks_is_said_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "durably._fsspec.file", None)
    monkeypatch.delitem(sys.modules, "durably.filesystem", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"durably\._fsspec\.file"):
        importlib.import_module("durably.filesystem")


missing_tool = next((name for name in ("hatchling", "pip") if importlib.util.find_spec(name) is None), None)


def run(*command: object, cwd: Path) -> str:
    arguments = [str(word) for word in command]
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(missing_tool is not None, reason=f"{missing_tool} is not installed")
@pytest.mark.skipif(not (PROJECT / "pyproject.toml").exists(), reason="not run from a source tree")
def test_a_wheel_made_from_the_source_distribution_saves_a_file(tmp_path: Path) -> None:
    built, saved = tmp_path / "built", tmp_path / "saved.txt"
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", built, cwd=PROJECT)
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("durably-*")
    for needed in (
        "tests/project/test_package.py",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "platforms",
    ):
        assert (source / needed).exists()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", built, cwd=source)
    (wheel,) = built.glob("*.whl")
    check_contents(wheel)

    clean = tmp_path / "clean"
    venv.create(clean, with_pip=False, symlinks=sys.platform != "win32")
    python = clean / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-index", wheel, cwd=tmp_path)
    script = f"import durably; print(durably.write_bytes({str(saved)!r}, b'saved').size)"
    assert run(python, "-I", "-W", "error", "-c", script, cwd=tmp_path) == "5\n"
    assert saved.read_bytes() == b"saved"


def check_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"durably"}
    assert "durably/py.typed" in names
    assert {f"durably/{path.relative_to(PACKAGE).as_posix()}" for path in MODULES.values()} <= names
