"""Recording: a workload on a real file system, on the disk that writes everything down."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from . import disk, file_systems, system
from .history import digest_of
from .log import FLUSH, HEADER, MARK, WRITE, Log, LogWriter
from .loop import Loop
from .noise import Noise
from .session import Session, noisy
from .workloads import WORKLOADS

assert sys.platform == "linux"

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .session import Writer
    from .states import Image
    from .workload import Workload

_BELOW = ("file0", "file1", "file2", "file3")


class Recording(NamedTuple):
    """What to record; it is the header of the log.

    ``kind``: the file system. ``options``: more of mount. ``workload``: its name. ``writer``: in place
    of the workload's, "module:function", called with a path and bytes. ``loud``: whether to commit
    between the writer's steps. ``failing``: which write to the disk fails; 0: none.
    """

    kind: str
    workload: str
    options: str = ""
    writer: str = ""
    rounds: int = 60
    seed: int = 0
    loud: bool = True
    failing: int = 0

    @property
    def work(self) -> Workload:
        """The workload; with the writer that was asked for, if any."""
        workload = WORKLOADS[self.workload]
        return workload._replace(writer=_imported(self.writer)) if self.writer else workload


def _imported(name: str) -> Writer:
    module, _, function = name.partition(":")
    writer: Writer = getattr(import_module(module), function)
    return writer


def record(recording: Recording) -> Log:
    """Record. Raises RuntimeError if the file system cannot be made, or the workload fails."""
    return recorded(recording, _work)


def recorded(
    recording: Recording,
    work: Callable[[Recording, str, str], object],
    content: Image | None = None,
    marks: list[dict[str, Any]] | None = None,
) -> Log:
    """Record what ``work`` does, called with the mounted directory and the path of the disk's marks.

    ``content``: the disk to begin with, a file system already; by default a fresh one is made.
    ``marks``: that come before. Raises RuntimeError.
    """
    fd = os.memfd_create("log")
    log = LogWriter(fd)
    about = {"kernel": platform.release(), "time": time.strftime("%Y-%m-%d %H:%M:%S")}
    log.note(HEADER, recording._asdict() | about)
    for offset, buffers in content.runs() if content is not None else ():
        log.append(WRITE, offset, data=b"".join(buffers))
    log.append(FLUSH)
    for mark in marks or ():
        log.note(MARK, mark)
    with scratch() as place:
        recorder = system.child(lambda: _record(recording, place, log, work, content))
        system.wait(recorder, f"recording {recording.workload} on {recording.kind}")
    try:
        return Log(fd)
    finally:
        os.close(fd)


@contextmanager
def scratch() -> Generator[str]:
    """An empty directory for mounts that only children see."""
    place = tempfile.mkdtemp(prefix="powercut-")
    try:
        yield place
    finally:
        os.rmdir(place)


def _record(
    recording: Recording,
    place: str,
    log: LogWriter,
    work: Callable[[Recording, str, str], object],
    content: Image | None,
) -> None:
    system.leave_mounts()
    system.mount("none", place, "tmpfs")
    below, above = f"{place}/disk", f"{place}/mounted"
    os.mkdir(below)
    os.mkdir(above)
    fuse = disk.mounted(below)
    size = file_systems.FILE_SYSTEMS[recording.kind].size
    # The kernel names a loop device's file without its directory, so the name tells whose it is.
    name = os.path.basename(place)

    def serve() -> None:
        # In a mount namespace that has none of what will lie upon this disk. Whoever is the last to leave
        # a namespace, however it was killed, unmounts what is there, and would wait for itself.
        system.leave_mounts()
        system.unmount(below)
        disk.Disk(name, size, log, recording.failing, content).serve(fuse)

    server = system.child(serve)
    os.close(fuse)
    _mount(recording, f"{below}/{name}", above, make=content is None)
    writer = system.child(lambda: work(recording, above, f"{below}/mark"))
    system.wait(writer, recording.workload)
    system.unmount(above)
    system.unmount(below)
    system.wait(server, "the disk")


def _mount(recording: Recording, path: str, place: str, *, make: bool) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    loop = Loop(fd, direct=True)
    try:
        queue = loop.queue
        if queue["write_cache"] != "write back" or queue["dio"] != "1":
            raise RuntimeError(f"{loop.path} does not pass flushes on: {queue}")
        if make:
            file_systems.make(recording.kind, loop.path)
        options = file_systems.options_of(recording.kind, recording.options)
        system.mount(loop.path, place, recording.kind, 0, options)
    finally:
        loop.close()
        os.close(fd)


def _work(recording: Recording, place: str, mark: str) -> None:
    # Mounts made in here end with this process.
    work = recording.work
    marks = os.open(mark, os.O_WRONLY | os.O_CLOEXEC)
    noise = Noise(place, recording.kind, loud=recording.loud, seed=recording.seed)
    root = f"{place}/root"
    os.mkdir(root)
    session = Session(root, marks, recording.seed, recording.rounds, noise, durable=work.durable)
    session.tolerant = bool(recording.failing)
    if work.overlay:
        session.root = _overlaid(session, place)
    system.sync(place)
    session.mark("begin")
    with noisy(noise, refused=work.refused):
        try:
            work.course(session, work.writer)
        except OSError:
            if not session.tolerant:
                raise
            # The file system has met the write that failed, and is read-only by now.
    noise.close()
    if work.overlay:
        system.unmount(session.root)


def _overlaid(session: Session, place: str) -> str:
    """An overlay whose lower directory holds some of the files already."""
    for name in ("lower", "upper", "work"):
        os.mkdir(f"{place}/{name}")
    for name in _BELOW:
        content = session.content()
        session.mark("start", id=name, path=name, digest=digest_of(content), durable=True)
        with open(f"{place}/lower/{name}", "wb") as file:
            file.write(content)
        session.mark("done", id=name, durable=True)
    target = f"{place}/../overlaid"
    os.mkdir(target)
    mount_overlay(place, target)
    return target


def mount_overlay(place: str, target: str) -> None:
    """Mount the overlay of a file system that holds lower, upper and work."""
    layers: dict[str, Any] = {f"{name}dir": f"{place}/{name}" for name in ("lower", "upper", "work")}
    options = ",".join(f"{key}={path}" for key, path in layers.items())
    system.mount("none", target, "overlay", 0, options)
