"""fsspec's own suite for file systems, whole, on the durable one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

from fsspec.implementations.local import LocalFileSystem, make_path_posix
from fsspec.tests import abstract

from durably.filesystem import DurableFileSystem, DurableLocalFiles

if TYPE_CHECKING:
    from pathlib import Path


class Fixtures(abstract.AbstractFixtures):  # type: ignore[misc] # fsspec is not typed
    cls: type = DurableFileSystem

    @pytest.fixture(scope="class")
    @classmethod
    def fs(cls) -> Any:
        return cls.cls(auto_mkdir=True, durability="none", skip_instance_cache=True)

    @pytest.fixture(scope="class")
    @classmethod
    def local_fs(cls) -> Any:
        return LocalFileSystem(auto_mkdir=True)  # fsspec's own is an instance method, which pytest deprecates

    @pytest.fixture
    def fs_path(self, tmp_path: Path) -> str:
        return str(tmp_path)

    @pytest.fixture
    def fs_sanitize_path(self) -> Any:
        return make_path_posix


class TestCopy(abstract.AbstractCopyTests, Fixtures):  # type: ignore[misc]
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):  # type: ignore[misc]
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):  # type: ignore[misc]
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    pass


class TestPipeInstalled(abstract.AbstractPipeTests, Fixtures):  # type: ignore[misc]
    cls = DurableLocalFiles


class TestPutInstalled(abstract.AbstractPutTests, Fixtures):  # type: ignore[misc]
    cls = DurableLocalFiles
