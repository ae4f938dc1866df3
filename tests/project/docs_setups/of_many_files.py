from pathlib import Path

directory = Path()
pages = [("a.html", b"<p>"), ("b.html", b"<p>")]
lines = ["a\n", "b\n"]
