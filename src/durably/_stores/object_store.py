"""Stores whose own upload is all or nothing: S3, Google Cloud Storage, Azure."""

from __future__ import annotations

import base64
import errno
import hashlib
import secrets
from abc import abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING, Any

from durably._errors import UnsupportedError
from durably._stores.store import Store, promises

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = "durably-save"  # noqa: S105 # the name of an object's metadata
_AZURE_TOKEN = "durably_save"  # noqa: S105 # where it must be an identifier
_GATEWAY = (502, 504)
# botocore's, and Python's for a name that is not text.
_UNSENT = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "UnicodeEncodeError")

_ACKNOWLEDGED = promises(
    ("yes", "the store puts the whole object in place when the upload is complete"),
    ("yes", "the store puts the whole object in place when the upload is complete"),
    ("yes", "the store has acknowledged the object, and is as durable as its operator says"),
)


class Upload(Store):
    """An upload by the client's own file, which is closed without being sent when it is given up."""

    promises = _ACKNOWLEDGED
    creates_only = True
    is_concurrent = True

    def __init__(self, fs: Any, path: str, *, fresh: bool = False) -> None:
        super().__init__(fs, path, fresh=fresh)
        self.file: Any = None
        self.size = 0
        # Which of two equal objects is ours is told by a mark, where that decides who was first.
        self.token = secrets.token_hex(8) if fresh else ""

    def begin(self) -> None:
        # Not autocommit=False: it makes one request into three, and fsspec keeps a reference to the file.
        self.file = self.fs.open(self.path, "xb" if self.fresh else "wb", autocommit=True, **self.marks())

    @abstractmethod
    def marks(self) -> dict[str, Any]:
        """What is given to the client's open beside the mode: the mark of an object that must be new."""

    def write(self, data: memoryview) -> None:
        self.file.write(data)
        self.size += len(data)

    def commit(self) -> None:
        self.file.close()
        self.steps.append("upload")

    def discard(self) -> None:
        file = self.file
        if file is not None:
            file.closed = True  # first: its finalizer would send what it holds
            self.abort()
            file.buffer = None

    def abort(self) -> None:
        """End what was begun at the store."""

    def let_go(self) -> None:
        if self.file is not None:
            self.file.closed = True

    def info(self) -> dict[str, Any]:
        """What the store says of the object now; {} where there is none."""
        self.fs.invalidate_cache()
        try:
            found: dict[str, Any] = self.fs.info(self.path)
        except FileNotFoundError:
            return {}
        return found


class S3(Upload):
    """S3 and what speaks its protocol, by s3fs: one PUT, or a multipart upload."""

    name = "S3 upload"
    nameless = False
    """Whether an upload may have been begun of which nothing is known."""

    def marks(self) -> dict[str, Any]:
        return self._metadata() if self.fresh else {}

    def _metadata(self) -> dict[str, Any]:
        given = self.fs.s3_additional_kwargs.get("Metadata", {})
        return {"Metadata": {**given, _TOKEN: self.token}}

    def write(self, data: memoryview) -> None:
        try:
            super().write(data)
        except Exception as error:
            self.nameless = self.file.parts == [] and self.file.mpu is None and not _was_refused(error)
            raise

    def commit(self) -> None:
        if self.fresh and self.size == 0:
            # s3fs saves an empty object by its touch(), which knows no condition.
            self.file.closed = True
            self.fs.pipe_file(self.path, b"", mode="create", **self._metadata())
            self.steps.append("upload")
        else:
            super().commit()

    def abort(self) -> None:
        if self.nameless:
            # Others may have begun uploads to the same key, so none is taken for ours.
            bucket, key, _ = self.fs.split_path(self.path)
            self.left = (f"s3://{bucket}/{key}?uploads",)
            raise OSError(errno.EIO, "an upload was perhaps begun, and its number was lost with the answer")
        upload = self.file.mpu
        if upload is not None:
            bucket, key, _ = self.fs.split_path(self.path)
            self.left = (f"s3://{bucket}/{key}?uploadId={upload['UploadId']}",)
            self.fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload["UploadId"])
            self.file.mpu = None
            self.left = ()

    def landed(self, error: Exception) -> bool | None:
        precondition = self._etag()
        if self.file.mpu is None and not self.fresh and _was_refused(error):
            return False
        if self._is_ours(precondition):
            self.file.mpu = None
            return True
        if self.file.mpu is None:
            return False if _was_refused(error) else None
        try:
            self.abort()
        except FileNotFoundError:  # no such upload: it was completed, or another has aborted it
            self.file.mpu, self.left = None, ()
            return True if self._is_ours(precondition) else None
        return False

    def _md5(self) -> Any:
        buffer = self.file.buffer
        return hashlib.md5(b"" if buffer is None else buffer.getvalue(), usedforsecurity=False)

    def _etag(self) -> str:
        parts = self.file.parts
        if not parts:
            return str(self._md5().hexdigest())
        digests = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
        return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"

    def _is_ours(self, etag: str) -> bool:
        bucket, key, _ = self.fs.split_path(self.path)
        try:
            head: dict[str, Any] = self.fs.call_s3("head_object", Bucket=bucket, Key=key)
        except FileNotFoundError:
            return False
        if self.fresh:
            return bool(head.get("Metadata", {}).get(_TOKEN) == self.token)
        return bool(head["ETag"].strip('"') == etag)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _was_refused(error: Exception) -> bool:
    """Whether it was not sent, or the store itself answered that it has not done it: no gateway's answer."""
    for cause in _causes(error):
        if type(cause).__name__ in _UNSENT:
            return True
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            answer: Any = response  # pyright: ignore[reportUnknownVariableType] # a dict of anything
            return answer.get("ResponseMetadata", {}).get("HTTPStatusCode") not in (None, *_GATEWAY)
    return False


class GCS(Upload):
    """Google Cloud Storage, by gcsfs: a resumable session, or one request for a new small object."""

    name = "GCS upload"

    def __init__(self, fs: Any, path: str, *, fresh: bool = False) -> None:
        super().__init__(fs, path, fresh=fresh)
        self.digest = hashlib.md5(usedforsecurity=False)

    def begin(self) -> None:
        super().begin()
        if type(self.file).__name__ != "GCSFile":
            self.file.closed = True
            message = "is in a zonal bucket, where what is written is seen at once; nothing was written"
            raise UnsupportedError(errno.ENOTSUP, message, self.path)

    def marks(self) -> dict[str, Any]:
        return {"metadata": {_TOKEN: self.token}} if self.fresh else {}

    def write(self, data: memoryview) -> None:
        # Not from gcsfs, and not from the session: one that is over may be ended like any other.
        self.digest.update(data)
        super().write(data)

    def commit(self) -> None:
        file = self.file
        if self.fresh and file.location is None:
            # gcsfs has a condition for one request as well, and that is refused before it is read.
            data = file.buffer.getvalue()
            file.closed = True
            self.fs.pipe_file(self.path, data, mode="create", chunksize=len(data) + 1, **self.marks())
            self.steps.append("upload")
        else:
            super().commit()

    def abort(self) -> None:
        session = self.file.location
        if session is not None:
            self.left = (str(session),)
            self.file.discard()
            self.left = ()

    def landed(self, error: Exception) -> bool | None:
        found = self.info()
        if self.fresh and found.get("metadata", {}).get(_TOKEN) == self.token:
            return True
        digest = base64.b64encode(self.digest.digest()).decode()
        if not self.fresh and found.get("md5Hash") == digest:
            self.file.location = None
            return True
        if self.file.location is not None:
            self.abort()
            return False
        refused = isinstance(error, FileExistsError) or getattr(error, "code", None) not in (None, *_GATEWAY)
        return False if refused else None


class Azure(Upload):
    """Azure's block blobs, by adlfs: staged blocks, and one list that makes them the blob.

    Blocks that were staged and not committed cannot be removed; Azure drops them after a week.
    """

    name = "Azure block list"

    def landed(self, error: Exception) -> bool | None:
        # The blocks have random names of our own.
        ours: list[str] = list(getattr(self.file, "_block_list", None) or ())
        blocks, mark = import_module("fsspec.asyn").sync(self.fs.loop, self._committed)
        if mark == self.token if self.fresh else blocks == ours != []:
            return True
        return False if isinstance(error, FileExistsError) or _status(error) else None

    def marks(self) -> dict[str, Any]:
        return {"metadata": {_AZURE_TOKEN: self.token}} if self.fresh else {}

    async def _committed(self) -> tuple[list[str], str | None]:
        """The blocks of the blob that is there, and its mark."""
        container, blob, _ = self.fs.split_path(self.path)
        async with self.fs.service_client.get_blob_client(container, blob) as client:
            try:
                committed, _ = await client.get_block_list("committed")
            except import_module("azure.core.exceptions").ResourceNotFoundError:
                return [], None
            mark = (await client.get_blob_properties()).metadata.get(_AZURE_TOKEN)
        return [block.id for block in committed], mark


def _status(error: Exception) -> bool:
    for cause in _causes(error):
        status = getattr(cause, "status_code", None)
        if status is not None:
            return status not in _GATEWAY
    return False
