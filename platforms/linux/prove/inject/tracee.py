"""The process whose children save, each after as many calls of nonsense as its fault needs."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import warnings
from typing import TYPE_CHECKING, NamedTuple

from ..powercut import system
from . import outcome

assert sys.platform == "linux"

if TYPE_CHECKING:
    from .ways import Way

BEGIN, END = 1_000_001, 1_000_002
_NO_FD = 1_000_000
_LARGEST = 1 << 16
# The functions of the C library whose name is not that of the call.
_FUNCTIONS = {"newfstatat": "fstatat", "pread64": "pread", "pwrite64": "pwrite"}
_libc = ctypes.CDLL(None)


class Order(NamedTuple):
    """What a child is told. ``way``: its number; ``call``: which to burn, ``burns`` times."""

    way: int
    path: str
    call: str
    burns: int


class Zygote:
    """A warm process that forks a child for each order. It makes none of the calls that are failed.

    ``ways``: what can be ordered, by number.
    """

    def __init__(self, ways: list[Way]) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ways = ways
        self.process = system.child(lambda: self._serve(other))
        other.close()

    def save(self, order: Order) -> tuple[outcome.Outcome | None, int, int]:
        """Have a child save. Returns what it said, None if it was killed; its number and its status."""
        self._socket.send(json.dumps(order).encode())
        said = None
        while True:
            answer = self._socket.recv(_LARGEST)
            if not answer:
                raise RuntimeError("the traced process ended early")
            kind, value = json.loads(answer)
            if kind == "ended":
                return said, value[0], value[1]
            said = outcome.Outcome(*value)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        os.waitpid(self.process, 0)

    def _serve(self, other: socket.socket) -> None:
        self._socket.close()
        warnings.simplefilter("ignore")
        while order := other.recv(_LARGEST):
            told = Order(*json.loads(order))
            child = os.fork()
            if child == 0:
                self._save(told, other)
            _, status = os.waitpid(child, 0)
            other.send(json.dumps(("ended", (child, status))).encode())

    def _save(self, order: Order, other: socket.socket) -> None:
        way = self._ways[order.way]
        if order.burns:
            burn(order.call, order.burns)
        _libc.getpgid(BEGIN)
        try:
            said = outcome.succeeded(way.save(order.path))
        except BaseException as error:  # noqa: BLE001 # whatever it is, it is judged
            said = outcome.failed(error)
        _libc.getpgid(END)
        other.send(json.dumps(("said", said)).encode())
        os._exit(0)


def can_burn(call: str) -> bool:
    """Whether the C library has a function for a call."""
    return hasattr(_libc, _FUNCTIONS.get(call, call))


def burn(call: str, times: int) -> None:
    """Make a system call so many times, on a descriptor and at addresses that do not exist."""
    function = getattr(_libc, _FUNCTIONS.get(call, call))
    for _ in range(times):
        function(_NO_FD, 0, 0, 0, 0, 0)
