"""What the machine must have: programs, and the standard library of the Python that is to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_WINE = ("/usr/lib/wine", "/opt/wine-stable/bin")
_COMPILER, _RESOURCES = "x86_64-w64-mingw32-gcc", "x86_64-w64-mingw32-windres"
_ASK = "import sysconfig; print(sysconfig.get_path('stdlib'))"


class Tools(NamedTuple):
    """Where they lie."""

    wine: str
    server: str
    compiler: str
    resources: str
    library: Path
    """The standard library: what it has in pure Python is the same on every system."""


def look(version: str) -> Tools | str:
    """The tools, or which one is missing."""
    if sys.platform != "linux":
        return "Wine runs the suite on Linux"
    names = ("wine64", "wineserver", _COMPILER, _RESOURCES)
    paths = [_find(name) for name in names]
    if None in paths:
        missing = names[paths.index(None)]
        return f"{missing} is not installed (Debian: wine, wine64, gcc-mingw-w64-x86-64-win32)"
    library = _library(version)
    if library is None:
        return f"no Python {version} is installed, whose library is needed"
    wine, server, compiler, resources = filter(None, paths)
    return Tools(wine, server, compiler, resources, library)


def _find(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), *_WINE)))


def _library(version: str) -> Path | None:
    for python in (sys.executable, *_pythons(version)):
        done = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=False)
        place = Path(done.stdout.strip())
        if done.returncode == 0 and place.name == f"python{version}" and (place / "os.py").is_file():
            return place
    return None


def _pythons(version: str) -> list[str]:
    """Pythons of this version: on the path, and those that pyenv and uv have installed."""
    name = f"python{version}"
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    share = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    places = [
        *sorted(root.glob(f"versions/{version}.*/bin/{name}")),
        *sorted(share.glob(f"uv/python/cpython-{version}.*/bin/{name}")),
    ]
    on_path = shutil.which(name)
    return [*([on_path] if on_path else []), *map(str, places)]
