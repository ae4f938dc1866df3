"""Looking at what a cut has left: mount it, read every file, sweep, look again."""

from __future__ import annotations

import errno
import os
import sys
import time

from . import file_systems, system
from .history import Found, History
from .loop import Loop
from .record import Recording, mount_overlay
from .survey import Surveyor

assert sys.platform == "linux"


_TRIES = 200


class Observer:
    """Looks at states of one recording. Runs in a mount namespace of its own.

    ``place``: an empty directory. ``history``: what the workload saved.
    """

    def __init__(self, recording: Recording, place: str, history: History) -> None:
        self._recording = recording
        self._mounted, self._overlaid = f"{place}/mounted", f"{place}/overlaid"
        os.mkdir(self._mounted)
        os.mkdir(self._overlaid)
        self._options = file_systems.options_of(recording.kind, recording.options)
        self._surveyor = Surveyor(history, recording.work.recover)

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
            for _ in range(_TRIES):
                try:
                    system.mount(loop.path, self._mounted, self._recording.kind, 0, self._options)
                except FileExistsError:
                    # btrfs: another checker is mounting its state of the same file system just now.
                    time.sleep(0.01)
                else:
                    return
            raise OSError(errno.EEXIST, "another state of the file system is mounted")
        finally:
            loop.close()

    def _read(self) -> Found:
        if not self._recording.work.overlay:
            return self._surveyor.survey(f"{self._mounted}/root")
        mount_overlay(self._mounted, self._overlaid)
        try:
            return self._surveyor.survey(self._overlaid)
        finally:
            system.unmount(self._overlaid)
