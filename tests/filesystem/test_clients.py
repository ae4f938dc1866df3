"""Real clients of fsspec on the durable file system: what they write is whole, whatever happens.

Each is a row of one table: how it writes and reads, and how its writing is made to fail in the
middle. A client that is not installed is skipped, and said.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

pytest.importorskip("fsspec", reason="fsspec is not installed")

import fsspec

import durably
import entry_points
from durably import filesystem
from durably._system.syscalls import Syscalls
from durably.testing import use
from polling import Poller, contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DurableFileSystem: Any = filesystem.DurableFileSystem  # fsspec is not typed
ROWS = 15_000
OPTIONS = {"durability": "none"}

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the clients' own
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:UPath 'durable' filesystem not explicitly implemented"),
]


class BrokenError(Exception):
    pass


class Client(NamedTuple):
    """How one client writes something whose content tells ``version``, and reads it back."""

    name: str
    needs: str
    """The modules that must be installed."""
    write: Callable[[str, int], object]
    read: Callable[[str], int]
    """The version that the path holds."""
    fail: Callable[[str], object] | None = None
    """Begin to write version 2, and fail. Without one only the disk fails."""
    several: bool = False
    """Whether it is a tree whose files are written, and rewritten, one by one."""
    deletes: bool = False
    """Whether the client itself deletes the old file when its writing fails."""


def url(path: str) -> str:
    return f"durable://{path}"


def fs() -> Any:
    return DurableFileSystem(**OPTIONS)


def frame(version: int) -> Any:
    import pandas as pd

    return pd.DataFrame({"row": range(ROWS), "version": version, "text": "some text to fill the rows"})


def broken_frame() -> Any:
    """Its last row cannot be written."""

    class Unwritable:
        def __str__(self) -> str:
            raise BrokenError

        __repr__ = __str__

        def __reduce__(self) -> Any:
            raise BrokenError

    broken = frame(2).astype({"text": object})
    broken.loc[ROWS - 1, "text"] = Unwritable()
    return broken


def table(version: int) -> Any:
    import pyarrow as pa

    return pa.Table.from_pandas(frame(version), preserve_index=False)


def version_of(data: Any) -> int:
    """The version in a pandas frame: of every row, and none is missing."""
    assert len(data) == ROWS
    (version,) = set(data["version"])
    return int(version)


# pandas.


def pandas_csv(path: str, version: int) -> None:
    frame(version).to_csv(url(path), index=False, storage_options=OPTIONS)


def pandas_csv_gz(path: str, version: int) -> None:
    packing = {"method": "gzip", "mtime": 1}  # the same bytes each time
    frame(version).to_csv(url(path), index=False, compression=packing, storage_options=OPTIONS)


def pandas_json(path: str, version: int) -> None:
    frame(version).to_json(url(path), storage_options=OPTIONS)


def pandas_pickle(path: str, version: int) -> None:
    frame(version).to_pickle(url(path), compression="xz", storage_options=OPTIONS)


def pandas_parquet(path: str, version: int) -> None:
    frame(version).to_parquet(url(path), storage_options=OPTIONS)


def pandas_parquet_handle(path: str, version: int) -> None:
    with fsspec.open(url(path), "wb", **OPTIONS) as file:
        frame(version).to_parquet(file)


def read_by_pandas(name: str, **how: Any) -> Callable[[str], int]:
    def read(path: str) -> int:
        import pandas as pd

        return version_of(getattr(pd, f"read_{name}")(url(path), storage_options=OPTIONS, **how))

    return read


# pyarrow.


def pyarrow_parquet(path: str, version: int) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table(version), path, filesystem=fs())


def pyarrow_writer(path: str, version: int) -> None:
    import pyarrow.parquet as pq

    data = table(version)
    with fsspec.open(url(path), "wb", **OPTIONS) as file, pq.ParquetWriter(file, data.schema) as writer:
        writer.write_table(data)


def pyarrow_writer_by_filesystem_fails(path: str) -> None:
    import pyarrow.parquet as pq

    data = table(2)
    with pq.ParquetWriter(path, data.schema, filesystem=fs()) as writer:
        writer.write_table(data.slice(0, 10))
        raise BrokenError


def pyarrow_writer_fails(path: str) -> None:
    import pyarrow.parquet as pq

    data = table(2)
    with fsspec.open(url(path), "wb", **OPTIONS) as file, pq.ParquetWriter(file, data.schema) as writer:
        writer.write_table(data.slice(0, 10))
        raise BrokenError


def pyarrow_writer_given_up(path: str) -> None:
    import pyarrow.parquet as pq

    data = table(2)

    def write() -> None:
        writer = pq.ParquetWriter(path, data.schema, filesystem=fs())
        writer.write_table(data.slice(0, 10))
        raise BrokenError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            write()
        except BrokenError as error:
            error.__traceback__ = None
            gc.collect()
            raise


def pyarrow_dataset(path: str, version: int) -> None:
    import pyarrow.dataset as ds

    ds.write_dataset(
        table(version),
        path,
        format="parquet",
        filesystem=fs(),
        max_rows_per_file=ROWS // 4,
        max_rows_per_group=ROWS // 4,
        existing_data_behavior="overwrite_or_ignore",
    )


def read_dataset(path: str) -> int:
    import pyarrow.dataset as ds

    return version_of(ds.dataset(path, filesystem=fs()).to_table().to_pandas())


# dask, without a cluster.


def dask_frame(version: int) -> Any:
    dd: Any = importlib.import_module("dask.dataframe")
    return dd.from_pandas(frame(version), npartitions=3)


def dask_parquet(path: str, version: int) -> None:
    dask_frame(version).to_parquet(url(path), storage_options=OPTIONS, write_metadata_file=False)


def dask_csv(path: str, version: int) -> None:
    dask_frame(version).to_csv(f"{url(path)}/part-*.csv", index=False, storage_options=OPTIONS)


def dask_single_csv(path: str, version: int) -> None:
    dask_frame(version).to_csv(url(path), index=False, single_file=True, storage_options=OPTIONS)


def dask_csv_fails(path: str) -> None:
    def broken(part: Any, partition_info: Any = None) -> Any:
        if partition_info and partition_info["number"] == 2:
            raise BrokenError
        return part

    data = dask_frame(2)
    # In this thread: dask does not wait for other threads that still write when one has failed.
    data.map_partitions(broken, meta=data._meta).to_csv(
        url(path),
        index=False,
        single_file=True,
        storage_options=OPTIONS,
        compute_kwargs={"scheduler": "synchronous"},
    )


def read_by_dask(kind: str) -> Callable[[str], int]:
    def read(path: str) -> int:
        import dask.dataframe as dd

        where = url(path) if kind == "parquet" else f"{url(path)}/*.csv"
        return version_of(getattr(dd, f"read_{kind}")(where, storage_options=OPTIONS).compute())

    return read


# zarr and xarray.


def zarr_array(path: str, version: int) -> None:
    import numpy as np

    zarr: Any = importlib.import_module("zarr")
    zarr.save_array(url(path), np.full((64, 512), version), storage_options=OPTIONS, mode="w")


def read_zarr(path: str) -> int:
    zarr: Any = importlib.import_module("zarr")
    (version,) = set(zarr.open_array(url(path), mode="r", storage_options=OPTIONS)[:].flat)
    return int(version)


def xarray_zarr(path: str, version: int) -> None:
    import numpy as np
    import xarray as xr

    data = xr.Dataset({"version": (("x", "y"), np.full((64, 512), version))})
    data.to_zarr(url(path), mode="w", storage_options=OPTIONS, consolidated=False)


def read_xarray(path: str) -> int:
    import xarray as xr

    data = xr.open_zarr(url(path), storage_options=OPTIONS, consolidated=False)
    (version,) = set(data["version"].to_numpy().flat)
    return int(version)


# duckdb.


def duckdb_copy(suffix: str) -> Callable[[str, int], None]:
    def write(path: str, version: int) -> None:
        import duckdb

        with duckdb.connect() as connection:
            connection.register_filesystem(fs())
            connection.register("data", table(version))
            connection.execute(f"copy data to '{url(path)}' (format {suffix})")

    return write


def duckdb_fails(path: str) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.register_filesystem(fs())
        many = ROWS * 30
        query = f"select case when i = {many - 1} then error('broken') else i end from range({many}) t(i)"
        connection.execute(f"copy ({query}) to '{url(path)}' (format csv)")


def read_by_duckdb(suffix: str) -> Callable[[str], int]:
    def read(path: str) -> int:
        import duckdb

        with duckdb.connect() as connection:
            connection.register_filesystem(fs())
            return version_of(connection.execute(f"from read_{suffix}('{url(path)}')").df())

    return read


# datasets.


def datasets_of(version: int) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.Dataset.from_pandas(frame(version), preserve_index=False)


def datasets_to_disk(path: str, version: int) -> None:
    datasets_of(version).save_to_disk(url(path), storage_options=OPTIONS)


def read_datasets(path: str) -> int:
    import datasets

    return version_of(datasets.load_from_disk(url(path), storage_options=OPTIONS).to_pandas())


def datasets_csv(path: str, version: int) -> None:
    datasets_of(version).to_csv(url(path), storage_options=OPTIONS)


def datasets_parquet(path: str, version: int) -> None:
    datasets_of(version).to_parquet(url(path), storage_options=OPTIONS)


# universal_pathlib and polars.


def upath_text(path: str, version: int) -> None:
    import upath

    upath.UPath(url(path), **OPTIONS).write_text(f"{version} and more\n" * ROWS)


def upath_open(path: str, version: int) -> None:
    import upath

    with upath.UPath(url(path), **OPTIONS).open("w") as file:
        for _ in range(ROWS):
            file.write(f"{version} and more\n")


def upath_fails(path: str) -> None:
    import upath

    with upath.UPath(url(path), **OPTIONS).open("w") as file:
        file.write("2 and more\n" * ROWS)
        raise BrokenError


def read_upath(path: str) -> int:
    import upath

    lines = upath.UPath(url(path), **OPTIONS).read_text().splitlines()
    assert len(lines) == ROWS
    (line,) = set(lines)
    return int(line.split()[0])


def polars_by_handle(path: str, version: int) -> None:
    import polars as pl

    with fsspec.open(url(path), "wb", **OPTIONS) as file:
        pl.DataFrame({"row": range(ROWS), "version": [version] * ROWS}).write_parquet(file)


def read_polars(path: str) -> int:
    import polars as pl

    with fsspec.open(url(path), "rb", **OPTIONS) as file:
        versions = pl.read_parquet(file)["version"].to_list()
    assert len(versions) == ROWS
    (version,) = set(versions)
    return int(version)


CLIENTS = (
    Client(
        "pandas-csv",
        "pandas",
        pandas_csv,
        read_by_pandas("csv"),
        lambda path: broken_frame().to_csv(url(path), storage_options=OPTIONS, chunksize=500),
    ),
    Client(
        "pandas-csv-gz",
        "pandas",
        pandas_csv_gz,
        read_by_pandas("csv", compression="gzip"),
        lambda path: broken_frame().to_csv(
            url(path), storage_options=OPTIONS, compression="gzip", chunksize=500
        ),
    ),
    Client("pandas-json", "pandas", pandas_json, read_by_pandas("json")),
    Client(
        "pandas-pickle",
        "pandas",
        pandas_pickle,
        read_by_pandas("pickle", compression="xz"),
        lambda path: broken_frame().to_pickle(url(path), compression="xz", storage_options=OPTIONS),
    ),
    Client("pandas-parquet", "pandas pyarrow", pandas_parquet, read_by_pandas("parquet"), deletes=True),
    Client("pandas-parquet-handle", "pandas pyarrow", pandas_parquet_handle, read_by_pandas("parquet")),
    Client("pyarrow-parquet", "pandas pyarrow", pyarrow_parquet, read_by_pandas("parquet"), deletes=True),
    Client(
        "pyarrow-writer", "pandas pyarrow", pyarrow_writer, read_by_pandas("parquet"), pyarrow_writer_fails
    ),
    Client(
        "pyarrow-writer-by-filesystem",
        "pandas pyarrow",
        pyarrow_writer,
        read_by_pandas("parquet"),
        pyarrow_writer_by_filesystem_fails,
    ),
    Client(
        "pyarrow-writer-given-up",
        "pandas pyarrow",
        pyarrow_writer,
        read_by_pandas("parquet"),
        pyarrow_writer_given_up,
    ),
    Client("pyarrow-dataset", "pandas pyarrow", pyarrow_dataset, read_dataset, several=True),
    Client("dask-parquet", "pandas pyarrow dask", dask_parquet, read_by_dask("parquet"), several=True),
    Client("dask-csv", "pandas dask", dask_csv, read_by_dask("csv"), several=True),
    Client("zarr", "zarr numpy", zarr_array, read_zarr, several=True),
    Client("xarray", "xarray zarr numpy", xarray_zarr, read_xarray, several=True),
    Client("duckdb-parquet", "duckdb pandas pyarrow", duckdb_copy("parquet"), read_by_duckdb("parquet")),
    Client("duckdb-csv", "duckdb pandas pyarrow", duckdb_copy("csv"), read_by_duckdb("csv"), duckdb_fails),
    Client("datasets-disk", "datasets pandas", datasets_to_disk, read_datasets, several=True),
    Client("datasets-csv", "datasets pandas", datasets_csv, read_by_pandas("csv")),
    Client("datasets-parquet", "datasets pandas pyarrow", datasets_parquet, read_by_pandas("parquet")),
    Client("upath-text", "upath", upath_text, read_upath),
    Client("upath-open", "upath", upath_open, read_upath, upath_fails),
    Client("polars-handle", "polars", polars_by_handle, read_polars),
)


def ready(client: Client) -> None:
    missing = [name for name in client.needs.split() if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def path() -> Iterator[Path]:
    with entry_points.folder() as folder:
        yield folder / "target"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_round_trip(client: Client, path: Path) -> None:
    ready(client)
    for version in (0, 1):
        client.write(str(path), version)
        assert client.read(str(path)) == version
    assert entry_points.beside(path) == set()
    assert not any(map(entry_points.is_temporary, (name for _, _, names in os.walk(path) for name in names)))


FAILING = [client for client in CLIENTS if client.fail]


@pytest.mark.parametrize("client", FAILING, ids=lambda client: client.name)
def test_an_error_in_the_data_keeps_the_old_file(client: Client, path: Path) -> None:
    ready(client)
    client.write(str(path), 1)
    before = contents(path)
    assert client.fail is not None
    with pytest.raises(Exception, match=r"broken|^$") as caught:
        client.fail(str(path))
    caught.value.__traceback__ = None
    gc.collect()
    assert contents(path) == before
    assert client.read(str(path)) == 1
    assert not entry_points.beside(path)


class FullDisk(Syscalls):
    """No room after so many bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.failed = False
        self.write = self._write

    def _write(self, fd: int, data: Any, /) -> int:
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            self.failed = True
            raise OSError(28, "No space left on device (injected)")
        return os.write(fd, data)


@pytest.mark.filterwarnings("ignore:.*unfinished save:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_full_disk_keeps_the_old_files_whole(client: Client, path: Path) -> None:
    ready(client)
    client.write(str(path), 1)
    before = contents(path)
    client.write(str(path), 2)
    after = contents(path)
    client.write(str(path), 1)
    disk = FullDisk(sum(map(len, after.values())) // 2)
    with use(disk), pytest.raises(Exception) as caught:  # noqa: PT011 # each client has its own
        client.write(str(path), 2)
    assert disk.failed
    caught.value.__traceback__ = None
    del caught
    gc.collect()
    found = contents(path) if path.exists() else {}
    if client.deletes:
        assert found == {}, "the docs say that this client deletes the old file"
        return
    if not client.several:
        assert found.keys() == before.keys()
        assert client.read(str(path)) == 1
    for name, content in found.items():
        assert _is_whole(name, content, before, after)
    assert not entry_points.beside(path)


def _is_whole(name: str, content: bytes, *versions: dict[str, bytes]) -> bool:
    if any(content == version.get(name) for version in versions):
        return True
    if name.endswith("zarr.json"):  # written more than once, each time whole
        return bool(importlib.import_module("json").loads(content))
    # An arrow file name may be of one run only; it then must have its footer.
    return name.rpartition(".")[2] in ("parquet", "arrow") and content[-4:] in (b"PAR1", b"\0\0\0\0")


class SlowDisk(Syscalls):
    """Gives the reader time between two writes."""

    def __init__(self) -> None:
        super().__init__()
        self.write = self._write

    @staticmethod
    def _write(fd: int, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        time.sleep(0.002)
        return os.write(fd, view[: max(len(view) // 2, 4096)])


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_reader_sees_whole_files_only(client: Client, path: Path) -> None:
    ready(client)
    client.write(str(path), 1)
    before = contents(path)
    with use(SlowDisk()), Poller(path) as poller:
        client.write(str(path), 2)
    after = contents(path)
    assert poller.rounds > 1
    assert poller.seen
    for name, seen in poller.seen.items():
        for content in seen:
            assert _is_whole(name, content, before, after), name
    assert client.read(str(path)) == 2


def test_the_reader_would_see_a_part(path: Path) -> None:
    """The control: with fsspec's own file system it does."""
    local = fsspec.filesystem("file", skip_instance_cache=True)
    path.write_bytes(b"old")
    with Poller(path) as poller:
        with local.open(path, "wb") as file:
            for _ in range(50):
                file.write(b"new" * 5000)
                time.sleep(0.002)
    assert len(poller.seen[str(path)] - {b"old", path.read_bytes()}) > 0


def test_staged_path_keeps_the_old_file_from_the_client_that_deletes(path: Path) -> None:
    ready(CLIENTS[4])
    pandas_parquet(str(path), 1)
    with pytest.raises(OSError, match="injected"):
        with durably.staged_path(path) as temporary:
            frame(2).to_parquet(temporary)
            raise OSError(28, "No space left on device (injected)")
    assert read_by_pandas("parquet")(str(path)) == 1
    with durably.staged_path(path) as temporary:
        frame(2).to_parquet(temporary)
    assert read_by_pandas("parquet")(str(path)) == 2


def test_append_goes_on_from_the_old_file(path: Path) -> None:
    ready(CLIENTS[0])
    pandas_csv(str(path), 1)
    frame(1).to_csv(url(str(path)), index=False, header=False, mode="a", storage_options=OPTIONS)
    assert len(path.read_text().splitlines()) == 2 * ROWS + 1


@pytest.mark.parametrize("write", [dask_single_csv])
def test_a_csv_that_dask_writes_in_pieces(write: Callable[[str, int], None], path: Path) -> None:
    """Each piece is appended by a save of its own: the file grows whole piece by whole piece."""
    if importlib.util.find_spec("dask") is None:
        pytest.skip("not installed: dask")
    write(str(path), 1)
    assert read_by_pandas("csv")(str(path)) == 1
    with pytest.raises(BrokenError):
        dask_csv_fails(str(path))
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    assert not entry_points.beside(path)
