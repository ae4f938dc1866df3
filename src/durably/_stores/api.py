"""The public functions, for what lies at a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from durably._file.modes import parsed, with_action
from durably._receipts import Guarantees
from durably._stores.protocol import StoreSave, fail
from durably._stores.staged_object import StagedObject
from durably._stores.target import located
from durably._stores.writer import StoreWriter
from durably._types import resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from durably._file.writer import AtomicWriter
    from durably._receipts import Receipt
    from durably._types import SaveOptions


def write_bytes(
    named: Any,
    view: bytes | memoryview,
    options: SaveOptions,
    local: Callable[..., Receipt],
) -> Receipt:
    """`durably.write_bytes`. ``local``: that door, for what turns out to be a local file."""
    left: Any = dict(options)
    target = located(named, left)
    if isinstance(target, str):
        return local(target, view, **left)
    save = StoreSave(target, resolve(left))
    save.begin()
    try:
        save.write(memoryview(view))
    except BaseException as error:  # noqa: BLE001 # raised again
        save.give_up(error)
        fail(error, save.path)
    return save.finish()


def open_writer(
    named: Any,
    how: tuple[str, str | None, str | None, str | None, int],
    options: SaveOptions,
    local: Callable[..., AtomicWriter[Any]],
) -> AtomicWriter[Any]:
    """`durably.open`. ``how``: mode, encoding, errors, newline, buffering."""
    mode, encoding, errors, newline, buffering = how
    checked = parsed(mode, buffering, encoding, errors, newline)
    left: Any = dict(with_action(options, checked))
    target = located(named, left)
    if isinstance(target, str):
        text = {"encoding": encoding, "errors": errors, "newline": newline}
        return local(target, mode, buffering=buffering, **text, **left)
    return StoreWriter(target, checked, left)


def staged(named: Any, options: SaveOptions, local: Callable[..., Any]) -> Any:
    """What `durably.staged_path` does in its place."""
    left: Any = dict(options)
    target = located(named, left)
    if isinstance(target, str):
        return local(target, **left)
    return StagedObject(StoreSave(target, resolve(left)))


def probe(named: Any, options: dict[str, Any], local: Callable[[str], Guarantees]) -> Guarantees:
    """`durably.probe`. Nothing is asked of the store, beyond what its client asks when it connects."""
    target = located(named, options)
    if isinstance(target, str):
        return local(target)
    store, protocol = target.routine, target.fs.protocol
    kind = cast("str", protocol if isinstance(protocol, str) else protocol[0])
    readers, crash, durable = store.promises
    supports = frozenset({"no-replace"} if store.creates_only else ())
    return Guarantees(target.url, kind, (), store.name, readers, crash, durable, supports)
