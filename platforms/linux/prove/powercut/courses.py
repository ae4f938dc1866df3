"""Courses: which files are saved in which order. Each is called with the session and a writer."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .session import Session, Writer

_FILES = 8
_CROWD = 3
_FREE = 2 << 20


def replacing(session: Session, writer: Writer) -> None:
    """Save a few files again and again."""
    for _ in range(session.rounds):
        content = session.content()
        session.save(f"file{session.random.randrange(_FILES)}", content, writer)


def creating(session: Session, writer: Writer) -> None:
    """Save new files only."""
    for number in range(session.rounds):
        content = session.content()
        session.save(f"new{number}", content, writer)


def growing(session: Session, writer: Writer) -> None:
    """Append to a few files."""
    whole = dict.fromkeys(("log0", "log1"), b"")
    for _ in range(session.rounds):
        name = session.random.choice(sorted(whole))
        record = session.content(session.random.choice((100, 5000, 40_000)))
        if session.save(name, record, writer, whole=whole[name] + record):
            whole[name] += record


def planting(session: Session, writer: Writer) -> None:
    """Save each file into new directories, some of them below those of the one before."""
    for number in range(session.rounds):
        content = session.content()
        name = f"tree{number // 3}/{'deep/' * (number % 3)}leaf{number}"
        session.save(name, content, writer)


def recreating(session: Session, writer: Writer) -> None:
    """Save a file, and remove it now and then."""
    for _ in range(session.rounds):
        name = f"file{session.random.randrange(3)}"
        if os.path.exists(os.path.join(session.root, name)) and session.random.choice((True, False)):
            session.delete(name)
        else:
            content = session.content()
            session.save(name, content, writer)


def sweeping(session: Session, writer: Writer) -> None:
    """Sweep up after processes that are killed while they save, between saves that succeed."""
    for _ in range(session.rounds // 3):
        for save in (session.save_killed, session.save_killed, session.save):
            save(f"file{session.random.randrange(_FILES)}", session.content(), writer)
        session.sweep()


def crowding(session: Session, writer: Writer) -> None:
    """Several processes in one directory, each with a file of its own, and one file for all."""

    def one(number: int) -> None:
        session.random.seed(number)
        for _ in range(session.rounds // _CROWD):
            name = session.random.choice((f"own{number}", "shared"))
            content = session.content()
            session.save(name, content, writer)

    session.share(_CROWD, one)


def filling(session: Session, writer: Writer) -> None:
    """Save a few files where there is not always room."""
    try:
        fill(os.path.join(os.path.dirname(session.root), "filler"), _FREE)
    except OSError:
        if not session.tolerant:
            raise
    replacing(session, writer)


def fill(path: str, free: int) -> None:
    """Leave about so many bytes of room on a file system."""
    with open(path, "wb") as file:
        size, step = 0, 64 << 20
        while step >= 1 << 16:
            try:
                os.posix_fallocate(file.fileno(), size, step)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                step //= 4
            else:
                size += step
        file.truncate(size - free)
        os.fsync(file.fileno())
