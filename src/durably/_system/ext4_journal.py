"""Whether an ext4 file system has a journal, which the mount table of Linux does not say."""

from __future__ import annotations

import os

PRESENT = "journal"
ABSENT = "no journal"
HIDDEN = "journal unknown"


def state(device: str) -> str:
    """`PRESENT`, `ABSENT`, or `HIDDEN` where the kernel does not tell. ``device``: "major:minor".

    The driver lists the options in force under /proc/fs, and "data=" among them only with a journal;
    journal_task under /sys names the journal's thread since Linux 5.1 (sysfs-fs-ext4).
    """
    try:
        name = os.path.basename(os.readlink(f"/sys/dev/block/{device}"))
        return _from_options(name) or _from_task(name) or HIDDEN
    except OSError:
        return HIDDEN  # a container without /sys, or a device that is gone


def _from_options(name: str) -> str | None:
    try:
        with open(f"/proc/fs/ext4/{name}/options", "rb") as file:
            return PRESENT if any(line.startswith(b"data=") for line in file) else ABSENT
    except OSError:
        return None  # /proc without its part for the whole system (proc(5), subset=pid)


def _from_task(name: str) -> str | None:
    with open(f"/sys/fs/ext4/{name}/journal_task", "rb") as file:
        return ABSENT if file.read().strip() == b"<none>" else PRESENT
