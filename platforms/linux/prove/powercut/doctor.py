"""What a machine lacks to run the rig, and how to get it."""

from __future__ import annotations

import os
import sys

from .file_systems import FILE_SYSTEMS, find

_MOUNTS = 1 << 21  # CAP_SYS_ADMIN


def machine() -> list[str]:
    """Why nothing can run here; empty: all is well."""
    if sys.platform != "linux":
        return ["needs Linux"]
    reasons: list[str] = []
    if not _capabilities() & _MOUNTS:
        reasons.append("needs CAP_SYS_ADMIN: run as root; in a container with --privileged")
    if not _is_first_namespace():
        reasons.append("runs in a user namespace, where the kernel mounts no disk: run outside of it")
    for path, module in (("/dev/fuse", "fuse"), ("/dev/loop-control", "loop")):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            cure = f"as root, modprobe {module} if it is missing; in a container also --privileged"
            reasons.append(f"cannot open {path} ({error.strerror}): {cure}")
    return reasons


def strace() -> list[str]:
    """Why no system call can be made to fail."""
    return [] if find("strace") else ["strace is not installed: apt-get install strace"]


def file_system(kind: str) -> list[str]:
    """Why this file system cannot be tried; empty: all is well."""
    known = FILE_SYSTEMS[kind]
    programs = (known.make[0], known.check[0])
    missing = [name for name in programs if not find(name)]
    reasons = [f"{name} is not installed: apt-get install {known.package}" for name in missing]
    with open("/proc/filesystems", encoding="ascii") as file:
        if kind not in {line.split()[-1] for line in file}:
            reasons.append(f"this kernel has no {kind}: modprobe {kind}, as root")
    return reasons


def overlay() -> list[str]:
    """Why no overlay can be mounted."""
    with open("/proc/filesystems", encoding="ascii") as file:
        if "overlay" not in {line.split()[-1] for line in file}:
            return ["this kernel has no overlay: modprobe overlay, as root"]
    return []


def _capabilities() -> int:
    with open("/proc/self/status", encoding="utf-8") as file:
        line = next(line for line in file if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def _is_first_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() == ["0", "0", "4294967295"]
