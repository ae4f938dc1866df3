"""Mounts of another kernel: User Mode Linux boots in seconds, and has an NFS server, its client, and FAT."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import capabilities

from .mounts import Mount

if TYPE_CHECKING:
    from collections.abc import Generator

_MODULES = Path("/usr/lib/uml/modules")
_PROGRAMS = ("linux.uml", "modprobe", "mkfs.vfat", "mkfs.ext4", "exportfs", "rpc.nfsd", "rpc.mountd")
_NULL = subprocess.DEVNULL
_LIMIT = 600
# The machine's files are seen but not changed; what is written lies in memory, the answer in one directory.
_INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/mnt HOME=/mnt PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={paths}
mount -t proc none /proc
mount -t sysfs none /sys
for place in /mnt /run /var/tmp /var/lib/nfs; do mount -t tmpfs none $place; done
mkdir /mnt/answer /dev/shm
mount -t tmpfs none /dev/shm
mount -t hostfs -o {answer} none /mnt/answer
cd {here}
{python} -m prove.odd.uml > /mnt/answer/rows 2> /mnt/answer/errors
echo o > /proc/sysrq-trigger
sleep 60
"""


@contextmanager
def _vfat(place: Path) -> Generator[Path]:
    with _image(place, "vfat") as directory:
        yield directory


@contextmanager
def _nfs(place: Path) -> Generator[Path]:
    """An ext4, exported by this kernel's server, mounted by this kernel's client."""
    with _image(place, "ext4") as exported:
        _serve(exported)
        directory = place / "nfs"
        directory.mkdir()
        where = "vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,sec=sys"
        _run("mount", "-i", "-t", "nfs4", "-o", where, "127.0.0.1:/", str(directory))
        try:
            yield directory
        finally:
            _run("umount", str(directory))
            _run("rpc.nfsd", "0")
            _run("exportfs", "-au")


def _serve(exported: Path) -> None:
    _run("ip", "link", "set", "lo", "up")
    _run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
    state, server = Path("/var/lib/nfs"), Path("/proc/fs/nfsd")
    for name in ("etab", "rmtab"):
        (state / name).touch()
    (state / "v4recovery").mkdir()
    _run("exportfs", "-o", "rw,no_root_squash,insecure,sync,fsid=0,no_subtree_check", f"127.0.0.1:{exported}")
    _run("rpc.mountd", "--no-nfs-version", "3")
    _run("rpc.nfsd", "--no-nfs-version", "3", "2")
    # Nobody was a client before: there is nothing to wait for.
    (server / "v4_end_grace").write_text("Y", encoding="ascii")


@contextmanager
def _image(place: Path, kind: str) -> Generator[Path]:
    image, directory = place / f"{kind}.image", place / kind
    with image.open("wb") as file:
        file.truncate(32 << 20)
    _run(f"mkfs.{kind}", str(image))
    directory.mkdir()
    _run("mount", "-t", kind, "-o", "loop", str(image), str(directory))
    try:
        yield directory
    finally:
        _run("umount", str(directory))


def _run(program: str, *arguments: str) -> None:
    subprocess.run([program, *arguments], check=True, stdin=_NULL, stdout=_NULL)


def lacks() -> str:
    """Why it cannot be booted here, or "".."""
    missing = [program for program in _PROGRAMS if capabilities.find(program) is None]
    return f"{missing[0]} is not installed" if missing else ""


THERE = (
    Mount("vfat", lacks, _vfat, inside=True),
    Mount("NFS 4.2, from ext4 on the same machine", lacks, _nfs, inside=True),
)


def rows() -> list[dict[str, Any]]:
    """What is found out in there. Raises OSError with what it said if it ends without an answer."""
    linux = capabilities.find("linux.uml")
    assert linux is not None
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place, "answer")
        answer.mkdir()
        init = Path(place, "init")
        paths = os.pathsep.join(path for path in sys.path if path)
        here = Path(__file__).resolve().parents[2]
        init.write_text(
            _INIT.format(paths=paths, answer=answer, here=here, python=sys.executable), encoding="utf-8"
        )
        init.chmod(0o755)
        command = [linux, "mem=768M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet"]
        command += ["con=null", "con0=null,fd:1", "con1=null", f"uml_dir={place}"]
        done = subprocess.run(command, stdin=_NULL, capture_output=True, timeout=_LIMIT, check=False)
        try:
            found: list[dict[str, Any]] = json.loads((answer / "rows").read_bytes())
        except (OSError, ValueError) as error:
            said = (answer / "errors").read_text() if (answer / "errors").exists() else done.stdout.decode()
            raise OSError(f"no answer from User Mode Linux: {said.strip()[-2000:]}") from error
    return found


def _inside() -> None:
    from . import rows as found

    release = os.uname().release
    modules = Path("/mnt/modules/lib/modules")
    modules.mkdir(parents=True)
    (modules / release).symlink_to(_MODULES / release)
    names = ("loop", "vfat", "nls_cp437", "nls_iso8859-1", "nls_ascii", "nfsd", "nfs", "nfsv4")
    _run("modprobe", "-d", "/mnt/modules", "-a", *names)
    made = [found.row(mount, Path(f"/mnt/{number}")) for number, mount in enumerate(THERE)]
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    _inside()
