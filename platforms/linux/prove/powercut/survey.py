"""Looking at a directory: what is saved there, what else lies there, and what recovery makes of it."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import durably

from .history import ABSENT, Found, History, digest_of, digest_of_all

if TYPE_CHECKING:
    from collections.abc import Callable


class Surveyor:
    """Looks at the directory that a workload has worked in.

    ``history``: what it saved. ``recover``: what a program calls after a crash, before it reads.
    """

    def __init__(self, history: History, recover: Callable[[str], object] | None) -> None:
        self._recover = recover
        self._paths = sorted(history.paths)
        self._members = history.members
        self._names = {name for path in self._paths for name in history.members.get(path, [path])}
        self._directories = sorted({parent for name in self._names for parent in _parents(name)})

    def survey(self, root: str) -> Found:
        """What is there after recovery, and after sweeping."""
        self._start(root)
        files = self._files(root)
        before = self._strange(root)
        self._sweep(root)
        after = self._strange(root)
        gone = [path for path in files if _is_gone(root, self._members.get(path, [path]))]
        return Found(None, files, len(before), after + [f"{path}, which sweep removed" for path in gone])

    def _start(self, root: str) -> None:
        if self._recover is not None:
            self._recover(root)

    def repair(self, root: str) -> dict[str, tuple[str, str]]:
        """Do what a program does after a crash: recover, and sweep. Returns the files that are there then."""
        self._start(root)
        self._sweep(root)
        return self._files(root)

    def _files(self, root: str) -> dict[str, tuple[str, str]]:
        """What is there, by the names under which it was saved."""
        files: dict[str, tuple[str, str]] = {}
        for path in self._paths:
            members = self._members.get(path)
            found = read(os.path.join(root, path)) if members is None else read_all(root, members)
            if found is not None:
                files[path] = found
        return files

    def _strange(self, root: str) -> list[str]:
        """The files and directories that no operation was to make."""
        versions = {_version(root, name) for name in self._names}
        known = self._names | set(self._directories) | versions
        strange: list[str] = []
        for place, directories, files in os.walk(root, onerror=_fail):
            for name in [*directories, *files]:
                path = os.path.relpath(os.path.join(place, name), root)
                if path not in known:
                    strange.append(path)
                is_tree = path in self._names or path in versions
                if is_tree and name in directories:
                    directories.remove(name)  # what is in it has been read
        return strange

    def _sweep(self, root: str) -> None:
        for directory in self._directories:
            place = os.path.join(root, directory)
            if os.path.isdir(place):
                durably.sweep(place, older_than=0)


def read(path: str) -> tuple[str, str] | None:
    """The digest of a file or of a whole directory, and a word on it; None if it is not there."""
    if os.path.islink(path) and not os.path.exists(path):
        return "", "a link that leads nowhere"
    if os.path.isdir(path) and (not os.path.islink(path) or _version(*os.path.split(path))):
        walked = os.walk(path, onerror=_fail)
        inside = [os.path.join(place, name) for place, _, files in walked for name in files]
        names = sorted(os.path.relpath(one, path) for one in inside)
        return read_all(path, names) or (digest_of_all({}), "empty")
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


def _version(root: str, name: str) -> str:
    """The directory beside a saved name that the name is a link to: its path below the root; "": none."""
    path = os.path.join(root, name)
    to = os.readlink(path) if os.path.islink(path) else "/"
    return "" if "/" in to or not os.path.isdir(path) else os.path.join(os.path.dirname(name), to)


def read_all(root: str, names: list[str]) -> tuple[str, str] | None:
    """The digest of several files together, and a word on them; None if none is there."""
    found = {name: read(os.path.join(root, name)) for name in names}
    if not any(found.values()):
        return None
    words = ", ".join(f"{name}: {one[1] if one else 'missing'}" for name, one in found.items())
    digests = {name: one[0] if one else ABSENT for name, one in found.items()}
    return digest_of_all(digests), words


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


def _is_gone(root: str, names: list[str]) -> bool:
    return not any(os.path.lexists(os.path.join(root, name)) for name in names)


def _fail(error: OSError) -> None:
    raise error
