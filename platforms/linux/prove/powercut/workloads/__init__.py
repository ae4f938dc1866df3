"""Every workload: whatever the modules of this folder list as `PRODUCT` and as `CONTROLS`.

To add some, add a module here; nothing else needs to be touched. It holds

- a writer, ``writer(path, data)``, or a course of its own, ``course(session, writer)``, that saves through
  the session: `Session.save` (one file), `Session.save_all` (several by one act, each for itself or all
  or none), `Session.save_tree` (a directory with all that is in it). The session marks in the log what
  began and what returned, and from the marks follows what may be found after a cut: that is the
  invariant, and there is no other to write;
- ``PRODUCT = (Workload("name", course, writer, "name-of-its-control"), ...)``, with ``recover=`` what a
  program has to call after a crash, if it must call anything (`durably.sweep` is always run);
- ``CONTROLS = (Workload("name-of-its-control", course, wrong_writer, expects=WHOLE), ...)``: the same
  course with a defect that the rig must find.

`files` is an example. `python -m prove run --workload name` and `python -m prove controls --workload
name-of-its-control` try them; `list`, `run`, `ci`, `faults`, `again` and the tests find them by themselves.
"""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module
from typing import TYPE_CHECKING

assert sys.platform == "linux"

if TYPE_CHECKING:
    from ..workload import Workload

_MODULES = [import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]

PRODUCT: tuple[Workload, ...] = tuple(one for module in _MODULES for one in module.PRODUCT)
CONTROLS: tuple[Workload, ...] = tuple(one for module in _MODULES for one in module.CONTROLS)
SEVERAL = {
    saver: import_module(f"{__name__}.{room}").PRODUCT
    for saver, room in (
        ("Batch", "batches"),
        ("staged_directory", "directories"),
        ("Transaction, recover", "transactions"),
    )
}
"""Those of the product that save several files by one act, by what saves them."""
WORKLOADS = {one.name: one for one in PRODUCT + CONTROLS}
