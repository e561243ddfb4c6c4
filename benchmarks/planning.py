"""Cost of planning as a function of the number of tiles: `make bench-plan`.

Each row is `snakemake -n all` of the published configuration, in an empty working directory, with another
number of tiles: planned jobs, CPU time and peak memory of the process as counted by the kernel, which other
users of the machine affect little; and CPU time of planning only, without the start of Python and the imports
(measured by a plan of one job, `run_record`). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def planned(target: str, tiles: int) -> dict[str, Any]:
    """Plan `target` with a number of tiles: jobs, CPU seconds and peak MB."""
    with tempfile.TemporaryDirectory() as folder:
        overlay = Path(folder, "tiles.yaml")
        overlay.write_text(f"patches: {{tiles: {tiles}}}\n")
        Path(folder, "config").symlink_to(ROOT / "config")
        command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "Snakefile"), "--directory", folder]
        told = Path(folder, "told.txt")
        with told.open("w") as out:
            process = subprocess.Popen(
                [*command, "-n", target, "--configfile", str(overlay)], cwd=folder, stdout=out, stderr=out
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        text = told.read_text()
    if process.returncode:
        raise SystemExit(text)
    total = re.search(r"^total +(\d+)$", text, re.M)
    return {
        "tiles": tiles,
        "jobs": int(total.group(1)) if total else 1,
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mb": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, nargs="+", default=[10, 40, 100, 1000])
    wanted = parser.parse_args().tiles
    start = planned("run_record", 1)
    print(f"start of the program: {start['cpu_s']:.1f} s, {start['peak_mb']} MB\n")
    print("| tiles | jobs | CPU time, s | of which planning, s | peak memory, MB |")
    print("|---|---|---|---|---|")
    rows = []
    for tiles in wanted:
        row = planned("all", tiles)
        row["planning_s"] = round(row["cpu_s"] - start["cpu_s"], 2)
        rows.append(row)
        cells = (tiles, row["jobs"], f"{row['cpu_s']:.1f}", f"{row['planning_s']:.1f}", row["peak_mb"])
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    print(json.dumps({"start": start, "rows": rows}))


if __name__ == "__main__":
    main()
