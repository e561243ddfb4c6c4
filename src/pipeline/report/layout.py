"""Names of the comparison's files, shared by its rule and its code; imports nothing."""

from __future__ import annotations

TABLES = ("main", "conditions", "spread", "withheld", "validation", "floors", "challenge", "claims")
FIGURES = ("systems", "conditions")
#: Suffixes of each table's files.
FORMATS = ("csv", "tex", "html")
