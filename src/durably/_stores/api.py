"""The public functions, for an object of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from durably._receipts import Guarantees
from durably._stores.protocol import StoreSave, fail
from durably._stores.staged_object import StagedObject

if TYPE_CHECKING:
    from durably._receipts import Receipt
    from durably._stores.target import Target
    from durably._types import Options


def write_bytes(target: Target, view: bytes | memoryview, options: Options) -> Receipt:
    """`durably.write_bytes`."""
    save = StoreSave(target, options)
    save.begin()
    try:
        save.write(memoryview(view))
    except BaseException as error:  # noqa: BLE001 # raised again
        save.give_up(error)
        fail(error, save.path)
    return save.finish()


def staged(target: Target, options: Options) -> StagedObject:
    """What `durably.staged_path` does in its place."""
    return StagedObject(StoreSave(target, options))


def probe(target: Target) -> Guarantees:
    """`durably.probe`. Nothing is asked of the store, beyond what its client asks when it connects."""
    store, protocol = target.routine, target.fs.protocol
    kind = cast("str", protocol if isinstance(protocol, str) else protocol[0])
    readers, crash, durable = store.promises
    supports = frozenset({"no-replace"} if store.creates_only else ())
    return Guarantees(target.url, kind, (), store.name, readers, crash, durable, supports)
