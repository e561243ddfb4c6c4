"""Marks of unfinished jobs: taken off whole results, left on everything else."""

from __future__ import annotations

from pathlib import Path

from snakemake.persistence.file import FilePersistence

from pipeline.provenance.leftovers import forget_marks

NAMES = (
    "results/store/patches/1e4f620279f6/tile_000.zarr.zip",
    f"results/store/patches/1e4f620279f6/{'long' * 60}.zarr.zip",
    "resources/downloads/dem.tif",
    "results/store/patches/1e4f620279f6/absent.zarr.zip",
    "results/demo/evaluation/metrics.json",
)


def marked(root: Path) -> set[str]:
    """What Snakemake itself holds for unfinished."""
    persistence = FilePersistence(path=root / ".snakemake", nolock=True)
    return set(persistence._filter_incomplete_keys(NAMES))


def test_whole_results_lose_their_marks(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if "absent" not in name:
            (tmp_path / name).touch()
    persistence = FilePersistence(path=tmp_path / ".snakemake", nolock=True)
    for name in NAMES:
        persistence._mark_incomplete(name, None)
    stray = tmp_path / ".snakemake" / "incomplete" / "not base64!"
    stray.touch()
    assert marked(tmp_path) == set(NAMES)
    forget_marks(tmp_path)
    assert marked(tmp_path) == set(NAMES[3:])
    assert stray.exists()


def test_without_marks_there_is_nothing_to_do(tmp_path: Path) -> None:
    forget_marks(tmp_path)
    assert list(tmp_path.iterdir()) == []
