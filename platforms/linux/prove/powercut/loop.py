"""Loop devices that vanish with their last user."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
import time

assert sys.platform == "linux"

_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR, _DIRECT = 1, 4, 16
# struct loop_config: descriptor, block size, loop_info64 (of which only the flags are set), reserved.
_CONFIG = struct.Struct("=II 40x 12xI 176x 64x")
_TRIES = 200


class Loop:
    """A block device over a file, until it is closed and unmounted.

    ``fd``: a descriptor of the file. ``direct``: whether to pass the page cache by.
    Raises OSError.
    """

    def __init__(self, fd: int, *, direct: bool) -> None:
        self.path, self._fd = _configured(fd, _AUTOCLEAR | (_DIRECT if direct else 0))

    @property
    def queue(self) -> dict[str, str]:
        """What the kernel says of the device: ``write_cache``, ``fua`` and ``dio``."""
        place = f"/sys/block/{os.path.basename(self.path)}"
        names = {"write_cache": "queue/write_cache", "fua": "queue/fua", "dio": "loop/dio"}
        return {key: _read(f"{place}/{name}") for key, name in names.items()}

    def close(self) -> None:
        """Let go of the device; a mount keeps it."""
        os.close(self._fd)


def _configured(fd: int, flags: int) -> tuple[str, int]:
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(fd, 0, flags))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(0.002)  # another process was given the same number and came first
            else:
                return path, device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no free loop device")


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()
