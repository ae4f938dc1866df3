"""Save files so that nobody ever sees half of one.

Not a reader, not the program that starts after a crash, not the machine that comes back from a
power cut. `atomic_write`, `write_bytes` and `write_text` save what is in memory, `open` a stream,
`staged_path` what another library writes to a file name, `staged_directory` a whole tree, `Batch` many
files with shared flushes, `Transaction` several files, all or none. Each returns or holds a receipt;
`probe` says beforehand what a place can promise, `sweep` removes what a killed process left behind, and
`recover` finishes or undoes a transaction that was interrupted.
"""

from durably._api.oneshot import atomic_write, write_bytes, write_text
from durably._api.open import open  # noqa: A004 # as gzip.open
from durably._api.probe import probe
from durably._api.staged_path import staged_path
from durably._api.sweep import sweep
from durably._errors import (
    BatchError,
    NotDurableError,
    OutcomeUnknownError,
    RecoveryConflictError,
    RecoveryNeededError,
    TornError,
    UnsupportedError,
)
from durably._file.writer import AtomicWriter
from durably._receipts import BatchReceipt, Guarantees, Receipt
from durably._types import Durability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from durably._api.batch import Batch
    from durably._transaction.recover import recover
    from durably._transaction.transaction import Transaction
    from durably._tree.staged_directory import staged_directory

__version__ = "0.1.0"

__all__ = [
    "AtomicWriter",
    "Batch",
    "BatchError",
    "BatchReceipt",
    "Durability",
    "Guarantees",
    "NotDurableError",
    "OutcomeUnknownError",
    "Receipt",
    "RecoveryConflictError",
    "RecoveryNeededError",
    "TornError",
    "Transaction",
    "UnsupportedError",
    "atomic_write",
    "open",
    "probe",
    "recover",
    "staged_directory",
    "staged_path",
    "sweep",
    "write_bytes",
    "write_text",
]

# What saves many files is as much again to import as what saves one: each is loaded when it is asked for.
_LATER = {
    "Batch": "_api.batch",
    "Transaction": "_transaction.transaction",
    "recover": "_transaction.recover",
    "staged_directory": "_tree.staged_directory",
}

if not TYPE_CHECKING:  # or every name would be one of the module's to a type checker

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module 'durably' has no attribute {name!r}")
        from importlib import import_module

        found: object = getattr(import_module(f"durably.{_LATER[name]}"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATER})


del TYPE_CHECKING
