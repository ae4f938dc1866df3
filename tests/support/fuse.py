"""A file system in memory, served through FUSE, that lacks what a file system may lack.

It has neither fsync nor renameat2, links, attributes or unnamed files: the kernel is answered ENOSYS. The
layouts are those of <linux/fuse.h>. Run as a program it serves the descriptor that it is given.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_INIT_OUT = struct.Struct("<IIIIHHIIHHII24x")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<QQQQII")
_OPENED = struct.pack("<QII", 0, 0, 0)
_SETATTR = struct.Struct("<IIQQQQQQIIIIIIII")
_WRITE = struct.Struct("<QQIIQII")
_DIRENT = struct.Struct("<QQII")
_MODE, _UID, _GID, _SIZE = 1, 2, 4, 8
_UNANSWERED = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_MOST = 1 << 17


class Node:
    """A file, or a directory if it has entries."""

    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        self.mode = mode
        self.uid = self.gid = 0
        self.data = bytearray()
        self.entries: dict[bytes, Node] = {}

    def attributes(self) -> bytes:
        links = 2 if stat.S_ISDIR(self.mode) else 1
        times = (0,) * 6
        size = len(self.data)
        return _ATTRIBUTES.pack(
            self.number, size, 0, *times, self.mode, links, self.uid, self.gid, 0, 4096, 0
        )

    def entry(self) -> bytes:
        return _ENTRY.pack(self.number, 1, 0, 0, 0, 0) + self.attributes()


class Server:
    """Answers the kernel, one request after the other."""

    def __init__(self) -> None:
        self.nodes = {1: Node(1, stat.S_IFDIR | 0o755)}
        self.answers: dict[int, Callable[[Node, bytes], bytes]] = {
            1: self.lookup,
            3: self.getattr,
            4: self.setattr,
            9: self.mkdir,
            10: self.remove,
            11: self.remove,
            12: self.rename,
            14: lambda *_: _OPENED,
            15: self.read,
            16: self.write,
            18: lambda *_: b"",
            25: lambda *_: b"",
            26: self.start,
            27: lambda *_: _OPENED,
            28: self.list,
            29: lambda *_: b"",
            35: self.create,
        }

    def serve(self, fuse: int) -> None:
        """Until it is unmounted."""
        while True:
            try:
                request = os.read(fuse, _MOST + 4096)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno == errno.ENOENT:
                    continue  # the request was interrupted
                raise
            _, what, number, node, *_ = _IN.unpack_from(request)
            if what in _UNANSWERED:
                continue
            code, data = self.answer(what, node, request[_IN.size :])
            os.writev(fuse, [_OUT.pack(_OUT.size + len(data), -code, number), data])

    def answer(self, what: int, node: int, body: bytes) -> tuple[int, bytes]:
        if what not in self.answers:
            return errno.ENOSYS, b""
        try:
            return 0, self.answers[what](self.nodes.get(node, self.nodes[1]), body)
        except OSError as error:
            return error.errno or errno.EIO, b""

    def start(self, _: Node, body: bytes) -> bytes:
        _, minor = struct.unpack_from("<II", body)
        return _INIT_OUT.pack(7, min(minor, 31), 0, 0, 12, 9, _MOST, 1, 0, 0, 0, 0)

    def lookup(self, node: Node, body: bytes) -> bytes:
        return self._child(node, body.rstrip(b"\0")).entry()

    def _child(self, node: Node, name: bytes) -> Node:
        if name not in node.entries:
            raise OSError(errno.ENOENT, "")
        return node.entries[name]

    def getattr(self, node: Node, _: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + node.attributes()

    def setattr(self, node: Node, body: bytes) -> bytes:
        valid, _, _, size, *_, mode, _, uid, gid, _ = _SETATTR.unpack_from(body)
        if valid & _MODE:
            node.mode = mode
        if valid & _UID:
            node.uid = uid
        if valid & _GID:
            node.gid = gid
        if valid & _SIZE:
            node.data = node.data[:size].ljust(size, b"\0")
        return self.getattr(node, body)

    def _make(self, node: Node, name: bytes, mode: int) -> Node:
        if name in node.entries:
            raise OSError(errno.EEXIST, "")
        new = Node(max(self.nodes) + 1, mode)
        self.nodes[new.number] = node.entries[name] = new
        return new

    def mkdir(self, node: Node, body: bytes) -> bytes:
        mode, umask = struct.unpack_from("<II", body)
        return self._make(node, body[8:].rstrip(b"\0"), stat.S_IFDIR | mode & ~umask).entry()

    def create(self, node: Node, body: bytes) -> bytes:
        _, mode, umask, _ = struct.unpack_from("<IIII", body)
        return self._make(node, body[16:].rstrip(b"\0"), mode & ~umask).entry() + _OPENED

    def remove(self, node: Node, body: bytes) -> bytes:
        name = body.rstrip(b"\0")
        if self._child(node, name).entries:
            raise OSError(errno.ENOTEMPTY, "")
        del node.entries[name]
        return b""

    def rename(self, node: Node, body: bytes) -> bytes:
        (target,) = struct.unpack_from("<Q", body)
        old, new, _ = body[8:].split(b"\0", 2)
        self.nodes[target].entries[new] = self._child(node, old)
        del node.entries[old]
        return b""

    def read(self, node: Node, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        return bytes(node.data[offset : offset + size])

    def write(self, node: Node, body: bytes) -> bytes:
        _, offset, size, *_ = _WRITE.unpack_from(body)
        node.data = node.data.ljust(offset, b"\0")
        node.data[offset : offset + size] = body[_WRITE.size : _WRITE.size + size]
        return struct.pack("<II", size, 0)

    def list(self, node: Node, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        listed = b""
        for at, (name, child) in enumerate(node.entries.items(), 1):
            entry = _DIRENT.pack(child.number, at, len(name), child.mode >> 12) + name
            entry += bytes(-len(entry) % 8)
            if at > offset and len(listed) + len(entry) <= size:
                listed += entry
        return listed


@contextmanager
def served(directory: Path) -> Iterator[Path]:
    """Mount one on ``directory``, in this process's own mount namespace, for the length of the block."""
    from mounts import _leave

    _leave()
    libc = ctypes.CDLL(None, use_errno=True)
    directory.mkdir(exist_ok=True)
    fuse = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    if libc.mount(b"durably", os.fsencode(directory), b"fuse", ctypes.c_ulong(0), options) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    command = [sys.executable, __file__, str(fuse)]
    with subprocess.Popen(command, pass_fds=[fuse], stdin=subprocess.DEVNULL) as server:
        os.close(fuse)
        try:
            yield directory
        finally:
            subprocess.run(["umount", directory], check=True)
            assert server.wait(10) == 0


if __name__ == "__main__":
    Server().serve(int(sys.argv[1]))
