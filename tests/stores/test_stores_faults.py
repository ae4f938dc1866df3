"""Saves to real servers whose connection is cut, anywhere: the old object, the new one, an honest error.

Whatever breaks off a save, the store holds the whole old or the whole new object, the error says which as far
as can be known, and no upload and no temporary is left over.
"""

from __future__ import annotations

import gc
import json
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import durably
import servers
from durably import OutcomeUnknownError, Receipt

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
BLOCK = 5 << 20
NOT_LISTED = ("azure", "gcs")  # neither lists what was begun and not completed
# Where connections are cut, in each direction. DURABLY_STORE_CUTS=12 is the whole matrix, in many minutes.
CUTS = int(os.environ.get("DURABLY_STORE_CUTS", "2"))
RECORD = os.environ.get("DURABLY_STORE_RECORD")
_BEFORE_END = (600, 300, 150, 60, 30, 1) if CUTS > 2 else (150, 60, 1)


@pytest.fixture(params=servers.NAMES, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    reason = servers.reason(request.param)
    if reason:
        pytest.skip(reason)
    with servers.running(request.param) as running:
        # Those that speak HTTP connect anew by themselves, and take long to be made.
        running.options["skip_instance_cache"] = request.param not in ("s3", "gcs")
        yield running


def save(server: Server, how: dict[str, Any], data: bytes, name: str = "target", **options: Any) -> Receipt:
    piece = max(PIECE, len(data) // 12)
    writer = durably.open(server.url(name), "wb", **how, **options)
    with writer as file:
        for at in range(0, len(data), piece):
            file.write(data[at : at + piece])
            file.flush()
    assert writer.receipt is not None
    return writer.receipt


def outcome(
    server: Server, data: bytes = NEW, name: str = "target", old: bytes | None = OLD, **options: Any
) -> str:
    """What a save came to, after looking whether that is true."""
    error: OSError | None = None
    try:
        how = server.how()
    except Exception as refused:  # noqa: BLE001 # a client that connects by itself
        how, error = {}, OSError(str(refused))
    try:
        if error is not None:
            raise error
        save(server, how, data, name, **options)
        said = "saved"
    except OutcomeUnknownError as unknown:
        said, error = "unknown", unknown
    except OSError as failed:
        said, error = "failed", failed
    server.proxy.arm()
    held = server.read(name)
    expected = {"saved": (data,), "failed": (old,), "unknown": (old, data)}[said]
    fault = {"store": server.name, "said": said, "truncated": held not in (old, data)}
    if getattr(error, "leftovers", ()):
        said += ", leftover named"
        if server.name not in NOT_LISTED:
            durably.sweep(server.url(""), older_than=0, **server.how())
    gc.collect()
    left = server.leftovers()
    note(fault | {"leaked": len(left), "untrue": held not in expected})
    assert held in expected, (said, error, held and len(held))
    assert left == [], (said, error)
    return said


def note(fault: dict[str, object]) -> None:
    """Write it to the record, from which tests/benchmarks/stores.py makes the table of the docs."""
    if RECORD:
        with open(RECORD, "a", encoding="utf-8") as file:
            file.write(json.dumps(fault) + "\n")


def points(server: Server, number: int, data: bytes = NEW) -> Iterator[tuple[str, int]]:
    """Places to cut: so many bytes up, or down, spread over a save."""
    server.put("target", OLD)
    server.proxy.arm()
    save(server, server.how(), data)
    totals = {"up": server.proxy.up, "down": server.proxy.down}
    for way, total in totals.items():
        for step in range(number):
            yield way, total * step // number
        for before in _BEFORE_END if number > 1 else (30,):  # around the commit
            yield way, max(total - before, 0)


@pytest.fixture
def impatient(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that do not try again by themselves, so that an answer that is lost is lost."""
    if server.name == "s3":
        import s3fs

        monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
        options = {**server.options, "config_kwargs": {"retries": {"max_attempts": 0}}}
        monkeypatch.setattr(server, "options", {**options, "default_block_size": BLOCK})
    elif server.name == "gcs":
        import gcsfs.retry

        monkeypatch.setattr(gcsfs.retry, "is_retriable", lambda error: False)
        monkeypatch.setattr(server, "options", {**server.options, "block_size": 1 << 18})
    elif server.name == "azure":
        from azure.storage.blob.aio import BlobServiceClient

        plain = BlobServiceClient.from_connection_string
        once: dict[str, Any] = {"retry_total": 0, "retry_connect": 0, "retry_read": 0, "retry_status": 0}
        monkeypatch.setattr(BlobServiceClient, "from_connection_string", partial(plain, **once))
    else:
        pytest.skip("its client does not try again anyway")


@pytest.mark.parametrize("size", [len(NEW), 12 << 20])
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.usefixtures("impatient")
def test_an_answer_that_is_lost_is_looked_up(server: Server, size: int, overwrite: bool) -> None:
    data = (NEW * (size // len(NEW) + 1))[:size]
    counts: dict[str, int] = {}
    for number, (way, at) in enumerate(list(points(server, max(CUTS // 4, 1), data))):
        name = "target" if overwrite else f"new-{size}-{number}"
        server.put("target", OLD)
        server.proxy.arm(way, at)
        said = outcome(server, data, name, None if not overwrite else OLD, overwrite=overwrite)
        counts[said] = counts.get(said, 0) + 1
    print(f"\n{server.name}, no second try, {size} bytes, overwrite={overwrite}: {counts}")


def test_a_server_that_is_gone_for_good_leaves_what_sweep_finds(
    server: Server, request: pytest.FixtureRequest
) -> None:
    if server.name in ("s3", "azure", "gcs"):
        request.getfixturevalue("impatient")
    size = 12 << 20 if server.name == "s3" else len(NEW)
    data = (NEW * (size // len(NEW) + 1))[:size]
    counts: dict[str, int] = {}
    for way, at in list(points(server, max(CUTS // 6, 1), data)):
        server.put("target", OLD)
        server.proxy.arm(way, at, forever=True)
        said = outcome(server, data)
        counts[said] = counts.get(said, 0) + 1
    print(f"\n{server.name}, gone for good: {counts}")
    assert server.leftovers() == []


def test_a_slow_server_is_waited_for(server: Server) -> None:
    server.put("target", OLD)
    server.proxy.delay = 0.02
    try:
        assert outcome(server) == "saved"
    finally:
        server.proxy.delay = 0.0


def test_a_connection_that_is_cut_leaves_the_old_object_or_the_new_one(server: Server) -> None:
    counts: dict[str, int] = {}
    started = time.monotonic()
    for way, at in list(points(server, CUTS)):
        server.put("target", OLD)
        server.proxy.arm(way, at)
        said = outcome(server)
        counts[said] = counts.get(said, 0) + 1
        assert "leftover" not in said, "the connection was there again"
    print(f"\n{server.name}: {sum(counts.values())} cuts in {time.monotonic() - started:.0f} s: {counts}")
