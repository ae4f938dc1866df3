"""The flags and modes that the POSIX routines open with."""

from __future__ import annotations

import os

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)

DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _CLOEXEC
# Opens a directory that may be entered but not read: O_PATH on Linux, O_SEARCH or O_EXEC elsewhere.
SEARCH = getattr(os, "O_PATH", 0) or getattr(os, "O_SEARCH", 0) or getattr(os, "O_EXEC", 0)
CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | NOFOLLOW | _CLOEXEC
UNNAMED = os.O_RDWR | getattr(os, "O_TMPFILE", 0) | _CLOEXEC
# Without waiting for the other end of a FIFO, and without taking a terminal.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
READ = os.O_RDONLY | NOFOLLOW | _AT_ONCE | _CLOEXEC
WRITE = os.O_WRONLY | NOFOLLOW | _AT_ONCE | _CLOEXEC
LOOK = getattr(os, "O_PATH", 0) | NOFOLLOW | _CLOEXEC

PRIVATE = 0o600
PLAIN = 0o666

LOCK = 2 | 4  # LOCK_EX | LOCK_NB, the same on every system; fcntl does not import on Windows
SHARED_LOCK = 1 | 4  # LOCK_SH | LOCK_NB
LOCK_AND_WAIT = 2  # LOCK_EX
UNLOCK = 8  # LOCK_UN
F_SETFL = 4
