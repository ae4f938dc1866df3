"""Save files so that nobody ever sees half of one.

Not a reader, not the program that starts after a crash, not the machine that comes back from a
power cut. `atomic_write`, `write_bytes` and `write_text` save what is in memory, `open` a stream,
`staged_path` what another library writes to a file name, `staged_directory` a whole tree, `Batch` many
files with shared flushes. Each returns or holds a `Receipt`; `probe` says beforehand what a place can
promise, and `sweep` removes what a killed process left behind.
"""

from durably._batch import Batch
from durably._batch_receipt import BatchReceipt
from durably._errors import (
    BatchError,
    NotDurableError,
    OutcomeUnknownError,
    RecoveryConflictError,
    RecoveryNeededError,
    TornError,
    UnsupportedError,
)
from durably._oneshot import atomic_write, write_bytes, write_text
from durably._open import open  # noqa: A004 # as gzip.open
from durably._options import Durability, Guarantees, Receipt
from durably._probe import probe
from durably._recover import recover
from durably._staged_directory import staged_directory
from durably._staged_path import staged_path
from durably._sweep import sweep
from durably._transaction import Transaction
from durably._writer import AtomicWriter

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
