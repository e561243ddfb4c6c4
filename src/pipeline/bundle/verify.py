"""``make verify BUNDLE=path``: check a bundle on any machine; prints PASS or FAIL, exit status 1 on any FAIL.

The bundle is not trusted: it is unpacked in a temporary folder, nothing is written elsewhere, and none of its
code is run. docs/reproducibility.md states what each check can and cannot find.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from pipeline.bundle import checks, numbers
from pipeline.bundle.archive import MOST_BYTES, ArchiveError, check_sums, unpack
from pipeline.bundle.checks import Bundle, Row, verdict
from pipeline.bundle.reevaluation import check_again
from pipeline.storage.sha256 import file_sha256

#: Release whose bundles can be verified: others have other stages and files.
RELEASE = "0.2"
_LONGEST = 12
Check = Callable[[Bundle], Iterator[Row]]
CHEAP: tuple[Check, ...] = (
    checks.check_config,
    checks.check_records,
    checks.check_code,
    checks.check_plan,
    checks.check_environment,
    numbers.check_weights,
    numbers.check_patches,
    numbers.check_metrics,
    numbers.check_region,
    checks.check_crate,
    checks.check_documents,
)


def verify(
    path: Path | str,
    folder: Path | str,
    device: str = "cpu",
    most_bytes: int = MOST_BYTES,
    evaluate: bool = True,
) -> list[Row]:
    """Run all checks.

    Parameters
    ----------
    path : bundle. folder : empty folder to unpack it in.
    device : ``cpu``, ``cuda`` or ``auto``: where the evaluation is run again.
    most_bytes : largest allowed size of the unpacked bundle.
    evaluate : whether to run the evaluation again; all other checks take seconds.

    Returns
    -------
    One row per finding, in the order of the checks. A bundle that must not be unpacked, or is of another
    release, gives one row.
    """
    try:
        names = unpack(path, folder, most_bytes)
    except ArchiveError as error:
        return [Row("FAIL", "archive", str(error))]
    version = _version(Path(folder, "source", "pyproject.toml"))
    if version is not None and not version.startswith(f"{RELEASE}."):
        advice = f"verify it with release {version}, whose code is in its folder source"
        return [Row("FAIL", "release", f"expected a bundle of release {RELEASE}, found {version}; {advice}")]
    rows = [Row("PASS", "archive", f"{len(names)} members, none leaves its folder")]
    rows += guarded("files", lambda: _files(folder, names))
    bundle = Bundle(Path(folder), tuple(names))
    for check in CHEAP:
        rows += guarded(check.__name__.removeprefix("check_"), lambda check=check: check(bundle))  # type: ignore[misc]
    return rows + guarded("evaluation", lambda: check_again(bundle, device)) if evaluate else rows


def _version(pyproject: Path) -> str | None:
    """The version that made a bundle, where its source says so."""
    try:
        return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # the checks that follow report what is wrong


def _files(folder: Path | str, names: list[str]) -> Iterator[Row]:
    good, problems = check_sums(folder, names)
    return verdict("files", problems, f"{good} files have the sha256 that SHA256SUMS lists")


def guarded(name: str, work: Callable[[], Iterator[Row]]) -> list[Row]:
    """Rows of a check; an exception in it becomes a FAIL."""
    rows = []
    try:
        for row in work():
            rows.append(row)
    # A bundle may hold anything: an exception in a check is a finding, not a crash.
    except Exception as error:
        logging.getLogger(__name__).debug("details", exc_info=True)
        rows.append(Row("FAIL", name, f"could not be checked: {type(error).__name__}: {error}"))
    return rows


def table(rows: list[Row]) -> str:
    """Rows as text; at most twelve findings of one check and status are shown."""
    width = max(len(row.check) for row in rows)
    lines = []
    for (check, status), same in groupby(rows, key=lambda row: (row.check, row.status)):
        details = [row.detail for row in same]
        shown = details[:_LONGEST] + ["and more"] * (len(details) > _LONGEST)
        lines += [f"{status:4}  {check:{width}}  {detail}" for detail in shown]
    failed = sum(row.status == "FAIL" for row in rows)
    lines.append("")
    lines.append("FAIL: " + f"{failed} findings" if failed else "PASS: the bundle is what it claims to be")
    return "\n".join(lines)


def main(arguments: list[str] | None = None, prog: str = "python -m pipeline.bundle.verify") -> int:
    """Run the command; returns 0 when everything passes, 1 on any FAIL, 2 on wrong arguments."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path, help="bundle.zip")
    parser.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    parser.add_argument("--most-gib", type=float, default=MOST_BYTES / 2**30, help="refuse bigger bundles")
    parser.add_argument("--quick", action="store_true", help="do not run the evaluation again")
    given = parser.parse_args(arguments)
    if not given.bundle.is_file():
        parser.error(f"{given.bundle}: expected a bundle, found no file")
    logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        rows = verify(given.bundle, folder, given.device, int(given.most_gib * 2**30), not given.quick)
    print(f"\n{given.bundle.name}  sha256 {file_sha256(given.bundle)}\n\n{table(rows)}")
    return 1 if any(row.status == "FAIL" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
