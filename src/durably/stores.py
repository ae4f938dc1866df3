"""Stores of your own: have durably save to a file system of fsspec that it does not know::

    class Mine(durably.stores.Renamed):
        name = "mine"                    # its fs.mv() replaces the target in one step

    durably.stores.register("mypackage.MyFileSystem", Mine)
    durably.write_bytes("mine://path", data)

Look whether the store really keeps what the routine says: a rename that is a copy and a removal, or an
upload that can be seen while it is under way, keeps nothing. Needs ``durably[fsspec]``.
"""

from __future__ import annotations

from durably._stores.put import Put
from durably._stores.rename import Renamed
from durably._stores.store import Store, promises
from durably._stores.table import register

__all__ = ["Put", "Renamed", "Store", "promises", "register"]
