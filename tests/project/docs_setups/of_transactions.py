from pathlib import Path

data = b"data"
Path("settings").mkdir()
Path("settings/names.json").write_text("[]")
Path("settings/old.bin").write_bytes(b"old")
