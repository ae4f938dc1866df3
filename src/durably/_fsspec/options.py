"""The options of the file system, and what a mode means to it."""

# fsspec is not typed:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fsspec.spec import AbstractFileSystem  # pyright: ignore[reportMissingTypeStubs] # fsspec is not typed

if TYPE_CHECKING:
    from durably._types import SaveOptions

OPTIONS = ("durability", "metadata", "symlinks", "permissions", "allow_in_place")
"""Those of the file system."""
SINGLE = (*OPTIONS, "overwrite")
"""Those of a single file."""


class OneSpelling(type(AbstractFileSystem)):  # type: ignore[misc] # fsspec is not typed
    """Has ``Durability.NONE`` and "none" give the same cached instance."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        if isinstance(options.get("durability"), str):
            options["durability"] = str(options["durability"])
        return super().__call__(*arguments, **options)


def saving(given: dict[str, Any]) -> SaveOptions:
    """The options of a save among the arguments that were given."""
    return cast("SaveOptions", {name: given[name] for name in SINGLE if name in given})


def writes(mode: str) -> bool:
    """Whether a file that is opened so is written to."""
    return "r" not in mode or "+" in mode
