"""Finding and removing what killed processes left at a store."""

from __future__ import annotations

import errno
import posixpath
import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from durably._errors import UnsupportedError
from durably._stores.protocol import fail
from durably._stores.rename import Renamed
from durably._system import temp_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from durably._stores.target import Target

    Found = tuple[str, bool, str]


def sweep(target: Target, older_than: float, *, dry_run: bool) -> list[Found]:
    """What `durably.sweep` found at a store: each a path, whether it was removed, and the reason."""
    if issubclass(target.routine, Renamed):
        leftovers = _temporaries(target, target.routine(target.fs, target.path))
    elif target.routine.name == "S3 upload":
        leftovers = _uploads(target)
    else:
        message = f"does not list what was begun and not completed ({target.routine.name})"
        raise UnsupportedError(errno.ENOTSUP, message, target.url)
    try:
        return [_treated(name, age, remove, older_than, dry_run=dry_run) for name, age, remove in leftovers]
    except Exception as error:  # noqa: BLE001 # raised again: each client has its own
        fail(error, target.url)


def _treated(
    name: str, age: float | None, remove: Callable[[], object], older_than: float, *, dry_run: bool
) -> Found:
    if age is None:
        return name, False, "the store does not tell its age"
    if age < older_than:
        return name, False, f"changed {age:.0f} seconds ago"
    if not dry_run:
        try:
            remove()
        except FileNotFoundError:
            return name, True, "gone by itself"
        except Exception as error:  # noqa: BLE001 # each client has errors of its own
            return name, False, f"could not be removed: {error}"
    return name, True, f"unchanged for {age:.0f} seconds"


def _uploads(target: Target) -> Iterator[tuple[str, float | None, Callable[[], object]]]:
    """The uploads to keys that begin with the path."""
    bucket, prefix, _ = target.fs.split_path(target.path)
    if prefix and target.url.endswith("/"):
        prefix += "/"  # which the client has taken away: prefix/ is not to mean prefix-of-others/
    where: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = target.fs.call_s3("list_multipart_uploads", **where)
        for upload in page.get("Uploads", ()):
            one = {"Bucket": bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            name = f"s3://{bucket}/{upload['Key']}?uploadId={upload['UploadId']}"
            age = time.time() - upload["Initiated"].timestamp()
            yield name, age, partial(target.fs.call_s3, "abort_multipart_upload", **one)
        if not page.get("IsTruncated"):
            return
        where |= {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _temporaries(target: Target, store: Renamed) -> Iterator[tuple[str, float | None, Callable[[], object]]]:
    """The files of durably's own pattern in a directory."""
    target.fs.invalidate_cache()
    for entry in target.fs.ls(target.path, detail=True):
        path = entry["name"]
        if temp_names.parse(posixpath.basename(path)) is not None and entry["type"] == "file":
            yield path, _age(entry), partial(store.remove, path)


def _age(entry: dict[str, Any]) -> float | None:
    """The seconds since an entry was last changed, by its server's clock."""
    for name in ("mtime", "modified", "modify", "created"):
        value = entry.get(name)
        if isinstance(value, str):  # FTP's MLSD: RFC 3659
            value = datetime.strptime(value[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        if value is not None:
            return time.time() - (value.timestamp() if isinstance(value, datetime) else float(value))
    return None
