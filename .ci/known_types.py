"""Read ``pyright --verifytypes durably --outputjson`` and fail for a public name whose type is not known.

The rooms over fsspec are left out: fsspec has no types, and what derives from its classes is as unknown.
"""

from __future__ import annotations

import json
import sys

_OVER_FSSPEC = ("durably.filesystem", "durably._fsspec", "durably.stores", "durably._stores")


def main() -> None:
    """Print the names that are not known, and how many are."""
    symbols = json.load(sys.stdin)["typeCompleteness"]["symbols"]
    public = [each for each in symbols if each["isExported"] and not each["name"].startswith(_OVER_FSSPEC)]
    unknown = [each["name"] for each in public if not each["isTypeKnown"] or each["isTypeAmbiguous"]]
    print(f"{len(public)} public names; not wholly known: {', '.join(unknown) or 'none'}")
    if not public or unknown:
        sys.exit("public names must have known types")


if __name__ == "__main__":
    main()
