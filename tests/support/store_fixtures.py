"""Stores to save to, and stores that break."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

import durably
import durably.stores  # needs fsspec
import servers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import Server

OLD = b"old\n" * 100


NEW = b"new content\n" * 300


ONE_BLOCK = 5 << 20


class Local:
    """A store without a server: the same look as `servers.Server`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def url(self, name: str) -> str:
        return f"memory://{self.folder.name}/{name}" if self.name == "memory" else f"{self.folder}/{name}"

    def how(self) -> dict[str, Any]:
        if self.name == "memory":
            return {}
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import LocalFileSystem

        return {"fs": ArrowFSWrapper(LocalFileSystem())}

    def _key(self, name: str) -> str:
        return f"/{self.folder.name}/{name}"

    def read(self, name: str) -> bytes | None:
        if self.name == "memory":
            found = MemoryFileSystem.store.get(self._key(name))
            return None if found is None else bytes(found.getvalue())
        path = self.folder / name
        return path.read_bytes() if path.exists() else None

    def put(self, name: str, data: bytes) -> None:
        if self.name == "memory":
            MemoryFileSystem().pipe_file(self._key(name), data)
        else:
            (self.folder / name).write_bytes(data)

    def leftovers(self) -> list[str]:
        names = MemoryFileSystem.store if self.name == "memory" else os.listdir(self.folder)
        mine = f"/{self.folder.name}/" if self.name == "memory" else ""
        return [name for name in names if name.startswith(mine) and ".durably-" in name]


Place = Any  # Local or servers.Server


@pytest.fixture(params=("memory", "arrow", *servers.NAMES), scope="module")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if request.param == "arrow":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    if request.param in ("memory", "arrow"):
        yield Local(request.param, tmp_path_factory.mktemp(request.param))
        return
    reason = servers.reason(request.param)
    if reason:
        pytest.skip(reason)
    with servers.running(request.param) as running:
        how = running.how()
        if "storage_options" in how:
            how = {"storage_options": {**running.options, "skip_instance_cache": False}}
        running.how = lambda: dict(how)  # type: ignore[method-assign] # one connection, as programs have
        yield running


@pytest.fixture
def memory(tmp_path: Path) -> Local:
    return Local("memory", tmp_path)


def only(name: str) -> Iterator[Server]:
    reason = servers.reason(name)
    if reason:
        pytest.skip(reason)
    with servers.running(name) as running:
        yield running


@pytest.fixture(scope="module")
def s3() -> Iterator[Server]:
    yield from only("s3")


@pytest.fixture(scope="module")
def s3fs(s3: Server) -> Any:
    """A connection that hardly tries again by itself, with small parts."""
    s3fs = pytest.importorskip("s3fs")
    fs = s3fs.S3FileSystem(
        **s3.options, default_block_size=ONE_BLOCK, config_kwargs={"retries": {"max_attempts": 1}}
    )
    fs.retries = 1
    return fs


class _Stop(KeyboardInterrupt):
    pass


STOP = _Stop()


class Broken(durably.stores.Renamed):
    """A store that fails where it is told to."""

    name = "broken"
    at = ""
    error: BaseException = OSError(errno.EIO, "broken")

    def _fail(self, at: str) -> None:
        if Broken.at == at:
            raise Broken.error

    def create(self, path: str) -> Any:
        self._fail("create")
        return super().create(path)

    def write(self, data: memoryview) -> None:
        self._fail("write")
        super().write(data)

    def replace(self, old: str, new: str) -> None:
        self._fail("replace")
        super().replace(old, new)
        self._fail("replaced")
        if Broken.at == "answer":
            raise ConnectionResetError(errno.ECONNRESET, "reset")

    def remove(self, path: str) -> None:
        if Broken.at in ("remove", "forever"):
            raise RuntimeError("cannot be removed")
        super().remove(path)

    def exists(self, path: str) -> bool:
        if Broken.at == "forever":
            raise RuntimeError("cannot be asked")
        return super().exists(path)

    def reconnect(self) -> None:
        if Broken.at == "remove":
            Broken.at = ""


class BrokenFiles(MemoryFileSystem):  # type: ignore[misc] # not typed
    """A file system for it. In memory a move is a copy and a removal; what matters here is its errors."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Local:
    from durably._stores import table

    monkeypatch.setattr(table, "_TABLE", dict(table._TABLE))
    durably.stores.register(BrokenFiles, Broken)
    monkeypatch.setattr(Broken, "at", "")
    monkeypatch.setattr(Broken, "error", OSError(errno.EIO, "broken"))
    place = Local("memory", tmp_path)
    place.put("target", OLD)
    place.url = place._key  # type: ignore[method-assign]
    place.how = lambda: {"fs": BrokenFiles()}  # type: ignore[method-assign]
    return place
