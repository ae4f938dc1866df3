from pathlib import Path

import durably


class Frame:
    """Stands for a data frame that writes a directory."""

    def to_parquet(self, path: Path) -> None:
        (path / "part.0.parquet").write_bytes(b"PAR1")


frame = Frame()
