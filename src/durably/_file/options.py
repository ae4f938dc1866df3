"""The options of what saves to this machine alone."""

from __future__ import annotations

import errno

from durably._errors import UnsupportedError
from durably._types import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from durably._types import Options, SaveOptions

_OF_STORES = "storage_options and fs name a store, which cannot do this in one step; nothing was written"


def resolve_local(options: SaveOptions) -> Options:
    """As `resolve`. Raises UnsupportedError where ``storage_options`` or ``fs`` name a store."""
    if "storage_options" in options or "fs" in options:
        rest: Any = dict(options)
        if rest.pop("storage_options", None) is not None or rest.pop("fs", None) is not None:
            raise UnsupportedError(errno.ENOTSUP, _OF_STORES)
        return resolve(rest)
    return resolve(options)
