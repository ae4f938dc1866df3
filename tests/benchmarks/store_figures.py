"""The figures of docs/stores.md: requests beside those of the bare client, and the matrix of faults.

    python tests/benchmarks/store_figures.py                  # counts the requests, and prints the tables
    python tests/benchmarks/store_figures.py --faults RECORD  # takes up a record of the matrix as well
    python tests/benchmarks/store_figures.py --write          # and puts both into the data file and the page

The record of the matrix comes from

    DURABLY_STORE_CUTS=12 DURABLY_STORE_RECORD=RECORD pytest tests/stores/test_stores_faults.py
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import durably
import servers

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "stores.md"
DATA = ROOT / "docs" / "proofs" / "stores.json"
BEGIN, END = "<!-- made by tests/benchmarks/store_figures.py -->\n\n", "\n<!-- the end of what it made -->\n"

CLIENTS = {
    "s3": ("s3fs.S3FileSystem", 5 << 20, "default_block_size"),
    "gcs": ("gcsfs.GCSFileSystem", 256 << 10, "block_size"),
    "azure": ("adlfs.AzureBlobFileSystem", 1 << 20, "blocksize"),
}


def sizes(block: int) -> dict[str, int]:
    """What is saved, by what it is called."""
    return {
        "0 bytes": 0,
        "100 bytes": 100,
        "one part less a byte": block - 1,
        "one part": block,
        "one part and a byte": block + 1,
        "many parts": block * 5 // 2,
    }


def connected(server: Server) -> Any:
    """The client of an object store, with small parts."""
    name, block, keyword = CLIENTS[server.name]
    module, _, kind = name.partition(".")
    return getattr(importlib.import_module(module), kind)(**{**server.options, keyword: block})


def requests(server: Server, fs: Any, size: int) -> tuple[list[str], list[str]]:
    """What the server was asked for by the client's own file, and by durably's, for the same object."""
    data = os.urandom(size)
    piece = max(CLIENTS[server.name][1] // 4, 1)
    folder = server.url("").partition("://")[2].rstrip("/")

    def fill(file: Any) -> None:
        for at in range(0, size, piece):
            file.write(data[at : at + piece])

    def bare() -> None:
        with fs.open(f"{folder}/figures", "wb") as file:
            fill(file)

    def ours() -> None:
        with durably.open(f"{folder}/figures", "wb", fs=fs) as file:
            fill(file)

    def asked(save: Callable[[], None]) -> list[str]:
        server.proxy.asked.clear()
        save()
        assert server.read("figures") == data
        return list(server.proxy.asked)

    bare()  # what is asked but once, such as for the bucket's kind
    return asked(bare), asked(ours)


def counted() -> dict[str, dict[str, dict[str, int]]]:
    """The number of requests, by store, size and writer."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, (_, block, _) in CLIENTS.items():
        if servers.reason(name):
            sys.exit(f"{name}: {servers.reason(name)}")
        with servers.running(name) as server:
            fs = connected(server)
            found[name] = {}
            for text, size in sizes(block).items():
                bare, ours = requests(server, fs, size)
                found[name][text] = {"bare": len(bare), "durably": len(ours)}
    return found


def faults(record: Path) -> dict[str, dict[str, int]]:
    """The matrix, by store."""
    found: dict[str, Counter[str]] = {}
    for line in record.read_text(encoding="utf-8").splitlines():
        fault = json.loads(line)
        tally = found.setdefault(fault["store"], Counter(cuts=0, truncated=0, leaked=0, untrue=0))
        tally["cuts"] += 1
        tally[fault["said"].partition(",")[0]] += 1
        for what in ("truncated", "leaked", "untrue"):
            tally[what] += int(fault[what])
    return {store: dict(tally) for store, tally in found.items()}


def tables(data: dict[str, Any]) -> str:
    """The data as the page shows them."""
    lines = ["| requests: bare client / durably | " + " | ".join(data["requests"]) + " |"]
    lines.append("|---" * (len(data["requests"]) + 1) + "|")
    for text in sizes(1):
        each = (store[text] for store in data["requests"].values())
        lines.append(f"| {text} | " + " | ".join(f"{one['bare']} / {one['durably']}" for one in each) + " |")
    lines += [
        "",
        "| store | saves | saved | failed | unknown | truncated | left over | untrue |",
        "|---" * 8 + "|",
    ]
    total: Counter[str] = Counter()
    columns = ("cuts", "saved", "failed", "unknown", "truncated", "leaked", "untrue")
    for store, tally in data["faults"].items():
        total.update(tally)
        lines.append(f"| {store} | " + " | ".join(str(tally.get(name, 0)) for name in columns) + " |")
    lines.append("| all | " + " | ".join(str(total[name]) for name in columns) + " |")
    return "\n".join(lines) + "\n"


def page(text: str, data: dict[str, Any]) -> str:
    """The page with the tables of these data."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, end
    return f"{before}{BEGIN}{tables(data)}{END}{after}"


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--faults", type=Path, metavar="RECORD")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    data: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {"faults": {}}
    data = {"requests": counted(), "faults": faults(given.faults) if given.faults else data["faults"]}
    print(tables(data), end="")
    if given.write:
        DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), data), encoding="utf-8")


if __name__ == "__main__":
    main()
