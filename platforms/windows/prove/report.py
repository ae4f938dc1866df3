"""What pytest has found out, from its report in JUnit's XML: counts, reasons for skips, figures."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from pathlib import Path

# Of a module that is skipped as a whole, pytest tells the reason so: ('path', line, 'Skipped: reason').
_MODULE = re.compile(r"""^\(.*, \d+, (['"])Skipped: (?P<reason>.*)\1\)$""", re.DOTALL)
_WORDS = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def read(path: Path) -> dict[str, Any]:
    """How many tests passed, failed and were skipped, for which reasons and in which files; the figures."""
    counts: Counter[str] = Counter({"passed": 0, "failed": 0, "skipped": 0})
    skips: dict[str, Counter[str]] = {}
    figures: dict[str, dict[str, int]] = {}
    for case in ET.parse(path).iter("testcase"):
        outcome, reason = _outcome(case)
        counts[outcome] += 1
        if outcome == "skipped":
            skips.setdefault(reason, Counter())[_file(case)] += 1
        figure = {item.attrib["name"]: int(item.attrib["value"]) for item in case.iter("property")}
        if figure:
            figures[case.attrib["name"]] = figure
    return {
        **counts,
        "skips": {reason: dict(sorted(files.items())) for reason, files in sorted(skips.items())},
        "figures": figures,
    }


def _outcome(case: ET.Element) -> tuple[str, str]:
    for element in case:
        if element.tag in _WORDS:
            whole = _MODULE.match((element.text or "").strip())
            return _WORDS[element.tag], whole["reason"] if whole else element.attrib.get("message", "")
    return "passed", ""


def _file(case: ET.Element) -> str:
    name = case.attrib.get("classname") or case.attrib["name"]
    return next((part for part in name.split(".") if part.startswith("test_")), name)
