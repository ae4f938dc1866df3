import gzip
from pathlib import Path

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

import durably.stores


class Elsewhere(MemoryFileSystem):  # type: ignore[misc] # not typed
    """Stands for a server: tests/stores/test_stores.py saves to real ones."""

    protocol = ("s3", "sftp", "gs")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.rpartition("://")[2].strip("/")


class Rename(durably.stores.Renamed):
    name = "rename"


class Frame:
    def to_parquet(self, path: Path) -> None:
        path.write_bytes(b"PAR1")


for protocol in Elsewhere.protocol:
    fsspec.register_implementation(protocol, Elsewhere, clobber=True)
durably.stores.register(Elsewhere, Rename)
data, frame = b"data", Frame()
my_file_system = Elsewhere()
my_file_system.makedirs("/bucket/prefix")
my_file_system.makedirs("/host/dir")
