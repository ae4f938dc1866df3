"""Looking at what a cut has left: mount it, read every file, sweep, look again."""

from __future__ import annotations

import os
import stat
import sys

import durably

from . import file_systems, system
from .history import Found, digest_of
from .loop import Loop
from .record import Recording, mount_overlay

assert sys.platform == "linux"


class Observer:
    """Looks at states of one recording. Runs in a mount namespace of its own.

    ``place``: an empty directory. ``paths``: those that the workload saved.
    """

    def __init__(self, recording: Recording, place: str, paths: list[str]) -> None:
        self._recording = recording
        self._mounted, self._overlaid = f"{place}/mounted", f"{place}/overlaid"
        os.mkdir(self._mounted)
        os.mkdir(self._overlaid)
        self._options = file_systems.options_of(recording.kind, recording.options)
        self._paths = frozenset(paths)
        self._directories = sorted({parent for path in paths for parent in _parents(path)})

    def look(self, fd: int, *, fsck: bool) -> Found:
        """What the disk in a file holds. ``fsck``: check the file system afterwards."""
        try:
            self._mount(fd)
        except OSError as error:
            return Found(("mount", str(error)), {}, 0, [])
        try:
            found = self._read()
        except OSError as error:
            found = Found(("read", str(error)), {}, 0, [])
        finally:
            system.unmount(self._mounted)
        if fsck and found.broken is None:
            damage = file_systems.damage(self._recording.kind, f"/proc/{os.getpid()}/fd/{fd}")
            if damage:
                return found._replace(broken=("fsck", damage))
        return found

    def _mount(self, fd: int) -> None:
        loop = Loop(fd, direct=False)
        try:
            system.mount(loop.path, self._mounted, self._recording.kind, 0, self._options)
        finally:
            loop.close()

    def _read(self) -> Found:
        if not self._recording.work.overlay:
            return self._survey(f"{self._mounted}/root")
        mount_overlay(self._mounted, self._overlaid)
        try:
            return self._survey(self._overlaid)
        finally:
            system.unmount(self._overlaid)

    def _survey(self, root: str) -> Found:
        files = {path: read(os.path.join(root, path)) for path in self._paths}
        present = {path: found for path, found in files.items() if found is not None}
        before = self._strange(root)
        for directory in self._directories:
            place = os.path.join(root, directory)
            if os.path.isdir(place):
                durably.sweep(place, older_than=0)
        after = self._strange(root)
        gone = [path for path in present if not os.path.lexists(os.path.join(root, path))]
        return Found(None, present, len(before), after + [f"{path}, which sweep removed" for path in gone])

    def _strange(self, root: str) -> list[str]:
        """The files and directories that no operation was to make."""
        known = self._paths | set(self._directories)
        strange: list[str] = []
        for place, directories, files in os.walk(root, onerror=_fail):
            for name in directories + files:
                path = os.path.relpath(os.path.join(place, name), root)
                if path not in known:
                    strange.append(path)
        return strange


def read(path: str) -> tuple[str, str] | None:
    """The digest of a file, and a word on it; None if it is not there."""
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return "", "not a file"
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        return str(error), "unreadable"
    return digest_of(content), _word(content)


def _word(content: bytes) -> str:
    if not content:
        return "empty"
    zeros = content.count(0)
    return f"{len(content)} bytes" + (" of zeros" if zeros == len(content) else "")


def _parents(path: str) -> list[str]:
    parents = [""]
    for name in path.split("/")[:-1]:
        parents.append(os.path.join(parents[-1], name))
    return parents


def _fail(error: OSError) -> None:
    raise error
