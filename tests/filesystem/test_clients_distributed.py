"""dask with a cluster of two worker processes on this machine."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

import durably
import entry_points
from libraries import Later
from polling import Poller, contents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pandas, dask, distributed = Later("pandas"), Later("dask"), Later("distributed")
dataframe = Later("dask.dataframe")

ROWS = 12_000
PRELOAD = "import durably.filesystem\n\ndurably.filesystem.install()\n"

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # dask, distributed and tornado have theirs
    pytest.mark.skipif(sys.platform == "win32", reason="kills a worker by a signal"),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    preload = tmp_path_factory.mktemp("preload") / "durable_files.py"
    preload.write_text(PRELOAD)
    settings = {"distributed.worker.preload": [str(preload)], "distributed.nanny.preload": []}
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


@pytest.fixture
def path() -> Iterator[Path]:
    with entry_points.folder() as folder:
        yield folder / "data"


def frame(version: int) -> Any:
    return dataframe.from_pandas(pandas.DataFrame({"row": range(ROWS), "version": version}), npartitions=6)


def version_in(path: Path) -> int:
    data = pandas.read_parquet(path)
    assert len(data) == ROWS
    (version,) = set(data["version"])
    return int(version)


def test_two_processes_write_one_data_set(client: Any, path: Path) -> None:
    for version in (1, 2):
        frame(version).to_parquet(f"durable://{path}", write_metadata_file=False)
        assert version_in(path) == version
    assert len(client.scheduler_info()["workers"]) == 2
    assert not any(map(entry_points.is_temporary, os.listdir(path)))


def test_a_reader_of_the_files_sees_whole_ones(client: Any, path: Path) -> None:
    frame(1).to_parquet(f"durable://{path}", write_metadata_file=False)
    before = contents(path)
    with Poller(path) as poller:
        frame(2).to_parquet(f"durable://{path}", write_metadata_file=False)
    after = contents(path)
    for name, seen in poller.seen.items():
        assert seen <= {before[name], after[name]}


def test_a_partition_that_fails_leaves_old_files_whole(client: Any, path: Path) -> None:
    frame(1).to_parquet(f"durable://{path}", write_metadata_file=False)
    before = contents(path)

    def broken(part: Any) -> Any:
        if part["row"].min() > ROWS // 2:
            raise ArithmeticError
        return part

    data = frame(2)
    with pytest.raises(ArithmeticError):
        data.map_partitions(broken, meta=data._meta).to_parquet(
            f"durable://{path}", write_metadata_file=False
        )
    now = contents(path)
    assert now.keys() == before.keys()
    versions = [set(pandas.read_parquet(name)["version"]) for name in now]
    assert all(each in ({1}, {2}) for each in versions)
    assert {1} in versions


def test_a_worker_that_is_killed(client: Any, path: Path) -> None:
    """Its partitions are written again by the other one, and what it left behind is swept."""
    once = path.with_name("once")
    own = os.getpid()

    def deadly(part: Any) -> Any:
        if part["row"].min() == 0 and os.getpid() != own:
            try:
                once.touch(exist_ok=False)
            except FileExistsError:
                return part
            import fsspec

            file = fsspec.filesystem("durable").open(f"{path}/part.0.parquet", "wb")
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    data = frame(1)
    data.map_partitions(deadly, meta=data._meta).to_parquet(f"durable://{path}", write_metadata_file=False)
    assert once.exists()
    assert version_in(path) == 1
    durably.sweep(path, older_than=0)
    assert not any(map(entry_points.is_temporary, os.listdir(path)))
    client.wait_for_workers(2, timeout=60)


def test_a_preload_puts_it_behind_file_in_the_workers(client: Any, path: Path) -> None:
    def used() -> str:
        import fsspec

        return type(fsspec.filesystem("file")).__name__

    assert set(client.run(used).values()) == {"DurableLocalFiles"}
    assert used() == "LocalFileSystem"


def test_a_file_system_goes_to_the_workers_with_its_options(client: Any, path: Path) -> None:
    from durably.filesystem import DurableFileSystem

    fs: Any = DurableFileSystem(durability="none", permissions=0o640)

    def write(fs: Any, where: str) -> dict[str, Any]:
        fs.pipe(where, b"content")
        return dict(fs.storage_options)

    assert client.submit(write, fs, str(path), pure=False).result() == fs.storage_options
    assert path.stat().st_mode & 0o777 == 0o640
