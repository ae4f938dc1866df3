"""A dask job on two processes, of which one is killed: a whole directory, and single objects at a store."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import durably
from libraries import Later
from store_fixtures import OLD, only

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

    from servers import Server

pandas, dask, distributed = Later("pandas"), Later("dask"), Later("distributed")
dataframe = Later("dask.dataframe")

ROWS = 6_000
GROUPS = 3
PARTS = 4
BLOCK = 5 << 20
SIZE = 8 << 20

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # dask, distributed and tornado have theirs
    pytest.mark.skipif(sys.platform == "win32", reason="kills a worker by a signal"),
]


@pytest.fixture
def client() -> Iterator[Any]:
    settings = {"distributed.scheduler.allowed-failures": 1, "distributed.worker.preload": []}
    # Imported before the settings are made: its defaults would go with them.
    cluster_of, client_of = distributed.LocalCluster, distributed.Client
    with (
        dask.config.set(settings),
        cluster_of(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        client_of(cluster) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def s3() -> Iterator[Server]:
    yield from only("s3")


@pytest.fixture(params=["once", "each time"])
def deadly(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], None]:
    """Kills the worker that calls it: once, so that dask does its work again, or each time."""
    once = tmp_path / "once"
    keeps_on = request.param == "each time"

    def kill() -> None:
        import os
        import signal

        if keeps_on or not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    kill.keeps_on = keeps_on  # type: ignore[attr-defined]
    return kill


class Watch(threading.Thread):
    """Looks again and again, and keeps what it saw."""

    def __init__(self, look: Callable[[], object]) -> None:
        super().__init__()
        self.look = look
        self.over = threading.Event()
        self.seen: set[object] = set()

    def run(self) -> None:
        while not self.over.wait(0.02):
            try:
                self.seen.add(self.look())
            except FileNotFoundError:
                pass  # replaced between the listing and the look into it

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def frame(version: int) -> Any:
    rows = pandas.DataFrame(
        {"row": range(ROWS), "version": version, "group": [row % GROUPS for row in range(ROWS)]}
    )
    return dataframe.from_pandas(rows, npartitions=PARTS)


def files_below(path: Path) -> frozenset[str]:
    return frozenset(
        os.path.relpath(os.path.join(directory, name), path)
        for directory, _, names in os.walk(path, onerror=_raise)
        for name in names
    )


def _raise(error: OSError) -> None:
    raise error


@pytest.mark.parametrize("old", [None, 1])
def test_a_partitioned_data_set_is_whole_or_absent(
    client: Any, tmp_path: Path, deadly: Callable[[], None], old: int | None
) -> None:
    """Written and checked in the block, published at its end."""
    target = tmp_path / "sales"
    whole = frozenset(
        f"group={group}/part.{part}.parquet" for group in range(GROUPS) for part in range(PARTS)
    )

    def broken_off(part: Any, directory: str) -> Any:
        from pathlib import Path

        if part["row"].min() == 0:
            # As far as the worker has come: half of a file, under the name that it is to have.
            (Path(directory) / "group=0").mkdir(exist_ok=True)
            (Path(directory) / "group=0" / "part.0.parquet").write_bytes(b"PAR1 half")
            deadly()
        return part

    def rename_into_place(version: int, *, is_broken_off: bool) -> None:
        with durably.staged_directory(target) as directory:
            data = frame(version)
            if is_broken_off:
                data = data.map_partitions(broken_off, str(directory), meta=data._meta)
            data.to_parquet(directory, partition_on=["group"], write_metadata_file=False)
            assert len(pandas.read_parquet(directory)) == ROWS

    def held() -> set[int | None]:
        if not target.exists():
            return {None}
        found = pandas.read_parquet(target)
        assert len(found) == ROWS
        return set(found["version"])

    if old is not None:
        rename_into_place(old, is_broken_off=False)
    with Watch(lambda: files_below(target)) as watch:
        if deadly.keeps_on:  # type: ignore[attr-defined]
            with pytest.raises(distributed.scheduler.KilledWorker):
                rename_into_place(2, is_broken_off=True)
        else:
            rename_into_place(2, is_broken_off=True)
    assert watch.seen <= {whole}
    expected = {2} if not deadly.keeps_on else {old}  # type: ignore[attr-defined]
    assert held() == expected
    durably.sweep(tmp_path, older_than=0)
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []


def test_single_objects_are_whole_or_absent(client: Any, s3: Server, deadly: Callable[[], None]) -> None:
    pytest.importorskip("s3fs")
    prefix = f"objects-{deadly.keeps_on}"  # type: ignore[attr-defined]
    s3.put(f"{prefix}/0", OLD)
    url, options = s3.url(prefix), {**s3.options, "default_block_size": BLOCK}

    def save(number: int) -> int:
        import durably

        with durably.open(f"{url}/{number}", "wb", storage_options=options) as file:
            for piece in range(SIZE >> 20):
                file.write(bytes([number]) * (1 << 20))
                if number == 0 and piece == 6:
                    deadly()  # the first part has gone
        return number

    def look() -> tuple[bool, ...]:
        held = (s3.read(f"{prefix}/{number}") for number in range(PARTS))
        return tuple(len(data or OLD) in (len(OLD), SIZE) for data in held)

    with Watch(look) as watch:
        jobs = client.map(save, range(PARTS), pure=False)
        results = client.gather(jobs, errors="skip")
    keeps_on = deadly.keeps_on  # type: ignore[attr-defined]
    assert watch.seen == {(True,) * PARTS}
    assert (0 in results) is (not keeps_on)
    assert s3.read(f"{prefix}/0") == (OLD if keeps_on else bytes(SIZE))
    for number in results:
        assert s3.read(f"{prefix}/{number}") == bytes([number]) * SIZE
    # What a killed worker had begun: nobody but who sweeps can end it.
    assert s3.leftovers()
    durably.sweep(url, older_than=0, storage_options=options)
    assert s3.leftovers() == []
