import fsspec
from fsspec.implementations.memory import MemoryFileSystem

import durably.stores


class Elsewhere(MemoryFileSystem):  # type: ignore[misc] # not typed
    """Stands for a server: tests/stores/test_stores.py saves to real ones."""

    protocol = ("s3",)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.rpartition("://")[2].strip("/")


class Rename(durably.stores.Renamed):
    name = "rename"


fsspec.register_implementation("s3", Elsewhere, clobber=True)
durably.stores.register(Elsewhere, Rename)
