"""Saves to real servers whose connection is cut, anywhere: the old object, the new one, an honest error.

Whatever breaks off a save, the store holds the whole old or the whole new object, the error says which as far
as can be known, and no upload and no temporary is left over.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, Any

import pytest

import durably
import servers
from durably import OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Server

pytestmark = [
    pytest.mark.timeout(600),
    # The clients leave sockets and event loops to the garbage collector where a connection breaks.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::pytest.PytestUnhandledThreadExceptionWarning"
    ),
]

OLD = b"old\n" * 1000
NEW = b"the new content\n" * 6000
PIECE = 16 << 10


@pytest.fixture(params=servers.NAMES, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    reason = servers.reason(request.param)
    if reason:
        pytest.skip(reason)
    with servers.running(request.param) as running:
        yield running


def save(server: Server, how: dict[str, Any], data: bytes = NEW, **options: Any) -> durably.Receipt:
    writer = durably.open(server.url("target"), "wb", **how, **options)
    with writer as file:
        for at in range(0, len(data), PIECE):
            file.write(data[at : at + PIECE])
            file.flush()
    assert writer.receipt is not None
    return writer.receipt


def outcome(server: Server, data: bytes = NEW) -> str:
    """What a save came to, after looking whether that is true."""
    error: OSError | None = None
    try:
        how = server.how()
    except Exception as refused:  # noqa: BLE001 # a client that connects by itself
        how, error = {}, OSError(str(refused))
    try:
        if error is not None:
            raise error
        save(server, how, data)
        said = "saved"
    except OutcomeUnknownError as unknown:
        said, error = "unknown", unknown
    except OSError as failed:
        said, error = "failed", failed
    server.proxy.arm()
    held = server.read("target")
    expected = {"saved": (data,), "failed": (OLD,), "unknown": (OLD, data)}[said]
    assert held in expected, (said, error, held and len(held))
    if getattr(error, "leftovers", ()):
        said += ", leftover named"
    else:
        gc.collect()
        assert server.leftovers() == [], (said, error)
    return said


def points(server: Server, number: int, data: bytes = NEW) -> Iterator[tuple[str, int]]:
    """Places to cut: so many bytes up, or down, spread over a save."""
    server.put("target", OLD)
    server.proxy.arm()
    save(server, server.how(), data)
    totals = {"up": server.proxy.up, "down": server.proxy.down}
    for way, total in totals.items():
        for step in range(number):
            yield way, total * step // number
        for before in (600, 300, 150, 60, 30, 1):  # around the commit
            yield way, max(total - before, 0)


def test_a_connection_that_is_cut_leaves_the_old_object_or_the_new_one(server: Server) -> None:
    counts: dict[str, int] = {}
    started = time.monotonic()
    for way, at in list(points(server, 12)):
        server.put("target", OLD)
        server.proxy.arm(way, at)
        said = outcome(server)
        counts[said] = counts.get(said, 0) + 1
        assert "leftover" not in said, "the connection was there again"
    print(f"\n{server.name}: {sum(counts.values())} cuts in {time.monotonic() - started:.0f} s: {counts}")
    assert sum(counts.values()) == 36
