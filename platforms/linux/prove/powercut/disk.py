"""The disk: a FUSE file system with one file, behind which everything is written down.

It speaks the kernel's protocol on /dev/fuse itself. One thread serves one request after the other, so
that the log is one total order, and "answered before the flush came" is exact. What is written to the
second file, `mark`, becomes a mark in the same log.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from typing import TYPE_CHECKING

from . import system
from .log import FLUSH, MARK, WRITE, ZERO, LogWriter

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .states import Image

#: In the mark after which writes are counted.
BEGIN = b'"begin"'

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_INIT_OUT = struct.Struct("<IIIIHHIIHHII24x")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY_OUT = struct.Struct("<QQQQII")
_ATTRIBUTES_OUT = struct.Struct("<QII")
_OPEN_OUT = struct.Struct("<QII")
_RANGE_IN = struct.Struct("<QQI")
_ALLOCATE_IN = struct.Struct("<QQQI")
_STATFS_OUT = struct.Struct("<5Q4I24x")

_FORGET, _INTERRUPT, _BATCH_FORGET, _DESTROY = 2, 36, 42, 38
_DIRECT_IO = 1
_BIG_WRITES, _MAX_PAGES = 1 << 5, 1 << 22
_LARGEST = 1 << 20
_HEADROOM = 4096
_WRITE_DATA_AT = 40
_YEAR = 1 << 25
_PUNCH_OR_ZERO = 0x02 | 0x10

_ROOT = 1
_DISK, _MARK = 2, 3


class Disk:
    """The served disk.

    ``name``: of its file; ``size``: in bytes. ``log``: what it is told goes there.
    ``failing``: the number of the write, from 1 after the mark `BEGIN`, that answers EIO; 0: none.
    ``content``: what it holds at first; by default nothing but zeroes.
    """

    def __init__(
        self, name: str, size: int, log: LogWriter, failing: int, content: Image | None = None
    ) -> None:
        self._files = {name.encode(): _DISK, b"mark": _MARK}
        self._size = size
        self._log = log
        self._failing = failing
        self._writes = 0
        self._begun = False
        self._store = os.memfd_create("disk")
        system.pour(self._store, size, content.runs() if content is not None else ())
        self._verbs = {
            1: self._look_up,
            3: self._attributes,
            4: self._attributes,
            14: self._open,
            15: self._read,
            16: self._write,
            17: self._statfs,
            18: self._nothing,
            20: self._flush,
            25: self._nothing,
            26: self._start,
            27: self._open,
            29: self._nothing,
            43: self._allocate,
        }

    def serve(self, fuse: int) -> None:
        """Answer requests until the file system is unmounted."""
        system.become_disk()
        buffer = bytearray(_LARGEST + _HEADROOM)
        view = memoryview(buffer)
        while True:
            try:
                size = os.readv(fuse, [buffer])
            except OSError as error:
                if error.errno == errno.ENODEV:
                    self._log.append(FLUSH)  # unmounted, and switched off in good order
                    return
                if error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                    continue  # the request was withdrawn
                raise
            self._serve(fuse, view[:size])

    def _serve(self, fuse: int, request: memoryview) -> None:
        _, verb, number, node, *_ = _IN.unpack_from(request)
        if verb in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            return  # these have no answer
        result: bytes | int = b""
        if verb in self._verbs:
            result = self._verbs[verb](node, request[_IN.size :])
        elif verb != _DESTROY:
            result = errno.ENOSYS
        code, data = (-result, b"") if isinstance(result, int) else (0, result)
        try:
            os.writev(fuse, [_OUT.pack(_OUT.size + len(data), code, number), data])
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise  # whoever asked is gone otherwise

    def _start(self, _: int, body: memoryview) -> bytes:
        _, minor = struct.unpack_from("<II", body)
        flags = _BIG_WRITES | _MAX_PAGES
        pages = _LARGEST // 4096
        return _INIT_OUT.pack(7, min(minor, 31), 1 << 17, flags, 16, 12, _LARGEST, 1, pages, 0, 0, 0)

    def _look_up(self, _: int, body: memoryview) -> bytes | int:
        node = self._files.get(bytes(body).rstrip(b"\0"))
        if node is None:
            return errno.ENOENT
        return _ENTRY_OUT.pack(node, 0, _YEAR, _YEAR, 0, 0) + self._status(node)

    def _attributes(self, node: int, _: memoryview) -> bytes:
        return _ATTRIBUTES_OUT.pack(_YEAR, 0, 0) + self._status(node)

    def _status(self, node: int) -> bytes:
        size = self._size if node == _DISK else 0
        mode = 0o040700 if node == _ROOT else 0o100600
        return _ATTRIBUTES.pack(node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _open(self, _: int, __: memoryview) -> bytes:
        return _OPEN_OUT.pack(0, _DIRECT_IO, 0)

    def _read(self, node: int, body: memoryview) -> bytes:
        _, offset, size = _RANGE_IN.unpack_from(body)
        return os.pread(self._store, size, offset) if node == _DISK else b""

    def _write(self, node: int, body: memoryview) -> bytes | int:
        _, offset, size = _RANGE_IN.unpack_from(body)
        data = body[_WRITE_DATA_AT : _WRITE_DATA_AT + size]
        if node == _MARK:
            self._begun = self._begun or BEGIN in data.tobytes()
            self._log.append(MARK, data=data)
            return struct.pack("<II", size, 0)
        self._writes += self._begun
        if self._begun and self._writes == self._failing:
            return errno.EIO
        os.pwrite(self._store, data, offset)
        self._log.append(WRITE, offset, data=data)
        return struct.pack("<II", size, 0)

    def _flush(self, node: int, _: memoryview) -> bytes:
        if node == _DISK:
            self._log.append(FLUSH)
        return b""

    def _allocate(self, node: int, body: memoryview) -> bytes | int:
        _, offset, length, mode = _ALLOCATE_IN.unpack_from(body)
        if node != _DISK or not mode & _PUNCH_OR_ZERO:
            return errno.EOPNOTSUPP
        system.punch(self._store, offset, length)
        self._log.append(ZERO, offset, length)
        return b""

    def _statfs(self, _: int, __: memoryview) -> bytes:
        return _STATFS_OUT.pack(self._size // 4096, 0, 0, 2, 0, 4096, 255, 4096, 0)

    def _nothing(self, _: int, __: memoryview) -> bytes:
        return b""


def mounted(place: str) -> int:
    """Mount a disk, not served yet, on a directory; the descriptor to serve it by."""
    fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0"
    try:
        system.mount("powercut", place, "fuse", system.NOSUID | system.NODEV, options)
    except OSError:
        os.close(fuse)
        raise
    return fuse
