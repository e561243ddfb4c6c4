"""Splits: no shared pixels, published sizes, and errors that say what to change."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.split import SplitSection
from pipeline.config.stages.terrain import SplitStage
from pipeline.terrain.footprints import Squares, touching
from pipeline.terrain.grid import Projection
from pipeline.terrain.split import TEST, TRAIN, VALIDATION, SplitError, random_labels, split_patches

SIZE = 16


def site(name: str, pole: int = -1, lon0: float = 0.0, **more) -> dict:
    place = {"pole": pole, "lon0": lon0, "scale": 1.0, "anchor": [0, 0], "pixel_m": 20.0}
    return {"name": name, "files": name.split("+"), **place, **more}


def squares_of(n_rows: int, n_cols: int, index: int = 0, stride: int = SIZE, at=(0.0, 0.0)) -> list[dict]:
    """A rectangular site of n_rows x n_cols disjoint patches, cut at `stride`."""
    out = []
    for col in range(0, (n_cols - 1) * SIZE + 1, stride):
        for row in range(0, (n_rows - 1) * SIZE + 1, stride):
            out.append(
                {
                    "id": 10**6 * index + len(out), "row": row, "col": col, "site": index,
                    "on_grid": row % SIZE == 0 and col % SIZE == 0,
                    "x0": at[0] + 20.0 * (col + SIZE / 2), "y0": at[1] - 20.0 * (row + SIZE / 2),
                    "coverage": None, "kept": True, "reason": None,
                }
            )  # fmt: skip
    return out


def write(folder: Path, patches: list[dict], sites: list[dict], tiles: int = 1) -> list[Path]:
    paths = []
    for t in range(tiles):
        part = patches[len(patches) * t // tiles : len(patches) * (t + 1) // tiles]
        paths.append(folder / f"selected_{tiles}_{t}.json")
        paths[-1].write_text(
            json.dumps(
                {
                    "schema": "selected/1",
                    "tile": t,
                    "size_px": SIZE,
                    "pixel_m": 20.0,
                    "sites": [{"whole": i, **each} for i, each in enumerate(sites)],
                    "patches": part,
                }
            )
        )
    return paths


def run(folder: Path, patches: list[dict], sites: list[dict], split: SplitSection, tiles: int = 1) -> dict:
    out = folder / f"split_{tiles}.json"
    split_patches(write(folder, patches, sites, tiles), SplitStage(split=split, size_px=SIZE), out)
    return json.loads(out.read_text())


def owners(patches: list[dict], labels: dict[str, str], n: int) -> dict[str, np.ndarray]:
    """Pixels of each split, one mask a site stacked on a common canvas."""
    masks = {name: np.zeros((4, n, n), bool) for name in ("train", "validation", "test")}
    for p in patches:
        name = labels[str(p["id"])]
        if name != "dropped":
            masks[name][p["site"], p["row"] : p["row"] + SIZE, p["col"] : p["col"] + SIZE] = True
    return masks


@settings(max_examples=40, deadline=None)
@given(
    method=st.sampled_from(["block", "site", "random"]),
    shape=st.tuples(st.integers(3, 6), st.integers(3, 6)),
    stride=st.sampled_from([4, 8, 16]),
    block=st.sampled_from([16, 24, 40, 48]),
    gap=st.sampled_from([0, 5, 16]),
    seed=st.integers(0, 2**32 - 1),
    dropped=st.integers(0, 10),
)
def test_no_pixel_is_in_two_splits(
    tmp_path_factory, method, shape, stride, block, gap, seed, dropped
) -> None:
    folder = tmp_path_factory.mktemp("split")
    sites = [site("a"), site("b"), site("c+d")]
    patches = [p for i in range(3) for p in squares_of(*shape, i, stride, at=(i * 1e5, 0.0))]
    for i in np.random.default_rng(seed).choice(len(patches), dropped):
        patches[i]["kept"] = False
    split = SplitSection(method=method, block_px=block, gap_px=gap, seed=seed, validation=0.2, test=0.2)
    try:
        found = run(folder, patches, sites, split)
    except SplitError as error:
        assert gap and "expected patches in all splits" in str(error)
        return
    labels = found["patches"]
    # Every kept patch has exactly one label, the others none.
    assert set(labels) == {str(p["id"]) for p in patches if p["kept"]}
    kept = [p for p in patches if p["kept"]]
    assert {k: sum(v == k for v in labels.values()) for k in found["counts"]} == found["counts"]
    assert sum(found["dropped"].values()) == found["counts"]["dropped"]
    # Only the disjoint grid is held out.
    assert all(p["on_grid"] for p in kept if labels[str(p["id"])] in ("validation", "test"))
    masks = owners(kept, labels, 6 * SIZE)
    assert not (masks["train"] & (masks["validation"] | masks["test"])).any()
    assert not (masks["validation"] & masks["test"]).any()
    # Nothing is dropped without need: on the grid and without a gap, no patch is.
    if not gap:
        assert all(labels[str(p["id"])] != "dropped" for p in kept if p["on_grid"])
    for tiles in (2, 7):
        assert run(folder, patches, sites, split, tiles) == found


@pytest.mark.parametrize("method", ["block", "site", "random"])
def test_the_seed_matters_and_repeats(tmp_path: Path, method: str) -> None:
    sites = [site(str(i)) for i in range(12)]
    patches = [p for i in range(12) for p in squares_of(4, 4, i, at=(i * 1e5, 0.0))]
    found = [
        run(tmp_path, patches, sites, SplitSection(method=method, block_px=32, seed=s)) for s in (0, 1, 0)
    ]
    assert found[0] == found[2] != found[1]


def test_gap_is_measured_between_footprints(tmp_path: Path) -> None:
    """In a row of patches with one in test, a gap drops the neighbours that are closer, no others."""
    sites = [site("a"), site("b"), site("c")]
    patches = [*squares_of(1, 9, 0), *squares_of(1, 1, 1, at=(1e5, 0.0)), *squares_of(1, 1, 2, at=(2e5, 0.0))]
    base = {"method": "block", "block_px": 16, "validation": 0.09, "test": 0.09}
    for seed in range(8):
        plain = run(tmp_path, patches, sites, SplitSection(**base, seed=seed))["patches"]
        held = {i for i in range(9) if plain[str(i)] != "train"}
        for gap, reach in ((0, 0), (1, 1), (16, 1), (17, 2), (33, 3)):
            labels = run(tmp_path, patches, sites, SplitSection(**base, seed=seed, gap_px=gap))["patches"]
            near = {i for i in range(9) if any(0 < abs(i - h) <= reach for h in held)} - held
            assert {i for i in range(9) if labels[str(i)] == "dropped"} == near


def test_published_random_split_sizes() -> None:
    rng = np.random.default_rng(0)
    label = random_labels(91708, SplitSection(method="random"), rng)
    assert [int(np.sum(label == i)) for i in (TRAIN, VALIDATION, TEST)] == [73366, 9170, 9172]


def test_shares_are_decimals_not_binary_floats() -> None:
    label = random_labels(
        10, SplitSection(method="random", validation=0.1, test=0.2), np.random.default_rng(0)
    )
    assert [int(np.sum(label == i)) for i in (TRAIN, VALIDATION, TEST)] == [7, 1, 2]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(8, 16))
def test_block_shares_are_close(tmp_path_factory, seed: int, n: int) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    found = run(folder, squares_of(n, n), [site("a")], SplitSection(block_px=32, seed=seed))
    # Whole blocks of 4 patches: within half a block of the share.
    assert abs(found["counts"]["test"] - 0.1 * n * n) <= 2
    assert abs(found["counts"]["validation"] - 0.1 * n * n) <= 2


def test_a_block_is_in_one_split(tmp_path: Path) -> None:
    patches = squares_of(8, 8)
    labels = run(tmp_path, patches, [site("a")], SplitSection(block_px=32))["patches"]
    for r in range(0, 128, 32):
        for c in range(0, 128, 32):
            inside = {
                labels[str(p["id"])] for p in patches if r <= p["row"] < r + 32 and c <= p["col"] < c + 32
            }
            assert len(inside) == 1


def test_site_patterns(tmp_path: Path) -> None:
    sites = [site("haworth_1+haworth_2"), site("nobile"), site("peak"), site("malapert")]
    patches = [p for i in range(4) for p in squares_of(2, 2, i, stride=8, at=(i * 1e5, 0.0))]
    split = SplitSection(method="site", test_sites=["haworth*"], validation_sites=["pe?k"])
    labels = run(tmp_path, patches, sites, split)["patches"]
    want = {0: "test", 1: "train", 2: "validation", 3: "train"}
    for p in patches:
        expected = want[p["site"]] if p["on_grid"] or p["site"] in (1, 3) else "dropped"
        assert labels[str(p["id"])] == expected
    with pytest.raises(
        SplitError, match=r"split\.test_sites: .*'shackleton\*', which matches none of haworth_1"
    ):
        bad = SplitSection(method="site", test_sites=["shackleton*"], validation_sites=["peak"])
        run(tmp_path, patches, sites, bad)
    with pytest.raises(SplitError, match=r"'haworth_2' on haworth_1\+haworth_2, which test_sites holds too"):
        both = SplitSection(method="site", test_sites=["haworth_1"], validation_sites=["haworth_2"])
        run(tmp_path, patches, sites, both)


@pytest.mark.parametrize("stride", [SIZE, SIZE // 2])
def test_every_kept_patch_can_be_test(tmp_path: Path, stride: int) -> None:
    """One small site is enough, and patches off the grid test too."""
    patches = squares_of(2, 2, stride=stride)
    patches[-1] |= {"kept": False, "reason": "coverage"}
    paths = write(tmp_path, patches, [site("a")], tiles=2)
    split_patches(
        paths, SplitStage(split=SplitSection(method="test", gap_px=50), size_px=SIZE), tmp_path / "split.json"
    )
    found = json.loads((tmp_path / "split.json").read_text())
    assert found["patches"] == {str(p["id"]): "test" for p in patches[:-1]}
    assert found["counts"] == {"train": 0, "validation": 0, "test": len(patches) - 1, "dropped": 0}


def test_other_lattices_over_the_same_ground(tmp_path: Path) -> None:
    """The same ground on two lattices, half a pixel apart: held-out ground stays held out on both."""
    sites = [site("a"), site("b")]
    patches = [*squares_of(6, 6, 0), *squares_of(6, 6, 1, at=(10.0, 10.0))]
    for seed in range(5):
        found = run(tmp_path, patches, sites, SplitSection(method="random", seed=seed))
        held = [p for p in patches if found["patches"][str(p["id"])] in ("validation", "test")]
        for p in patches:
            mine = found["patches"][str(p["id"])]
            for h in held:
                close = max(abs(p["x0"] - h["x0"]), abs(p["y0"] - h["y0"])) < SIZE * 20 - 1e-6
                if p is not h and close and mine != "dropped":
                    assert mine == found["patches"][str(h["id"])]


def test_errors_say_what_to_change(tmp_path: Path) -> None:
    two = [*squares_of(2, 2, 0), *squares_of(2, 2, 1, at=(1e5, 0.0))]
    with pytest.raises(
        SplitError, match=r"at least 3 blocks of 960 px .* found 2; .*smaller split\.block_px"
    ):
        run(tmp_path, two, [site("a"), site("b")], SplitSection())
    with pytest.raises(SplitError, match=r"at least 3 sites .* found 2"):
        run(tmp_path, two, [site("a"), site("b")], SplitSection(method="site"))
    with pytest.raises(SplitError, match=r"none in train .*train 0, validation 1, test 1, dropped 6.*gap_px"):
        run(tmp_path, two, [site("a"), site("a")], SplitSection(block_px=16, gap_px=10**4))
    for p in two:
        p["kept"] = False
    with pytest.raises(SplitError, match=r"none kept; lower coverage\.min_share"):
        run(tmp_path, two, [site("a"), site("b")], SplitSection())


def test_tiles_that_do_not_belong_together(tmp_path: Path) -> None:
    patches, sites = squares_of(6, 6), [site("a")]
    split = SplitSection(block_px=16)
    paths = write(tmp_path, patches, sites, 3)
    with pytest.raises(SplitError, match=r"expected tiles 0 to 1, each once, found \[0, 2\]"):
        split_patches([paths[0], paths[2]], SplitStage(split=split, size_px=SIZE), tmp_path / "s.json")
    with pytest.raises(SplitError, match=r"patches of 32 px \(patches\.size_px\), found 16"):
        split_patches(paths, SplitStage(split=split, size_px=32), tmp_path / "s.json")
    value = json.loads(paths[1].read_text())
    value["sites"] = [site("z")]
    paths[1].write_text(json.dumps(value))
    with pytest.raises(SplitError, match=r"expected the sites of .*mixed runs"):
        split_patches(paths, SplitStage(split=split, size_px=SIZE), tmp_path / "s.json")
    assert not (tmp_path / "s.json").exists()


# ---------------------------------------------------------------- footprints


@pytest.mark.parametrize("pole", [1, -1])
@pytest.mark.parametrize("lon0", [0.0, 30.0, -135.0])
def test_common_map_is_that_of_longitude_zero(pole: int, lon0: float) -> None:
    x, y = np.random.default_rng(0).uniform(-3e5, 3e5, (2, 20))
    ones = np.ones(20)
    own = Projection(pole, lon0, 1737400.0, 0.99)
    got = Squares.on_common_map(
        x, y, 960.0, pole=pole * ones.astype(int), lon0=lon0 * ones, scale=0.99 * ones
    )
    want = Projection(pole, 0.0, 1737400.0, 1.0).xy(*own.lonlat(x, y))
    np.testing.assert_allclose([got.x, got.y], want, atol=1e-6)
    # The upright square holds the turned one.
    corner = np.array([[1, 1], [1, -1]]) * 960.0
    near = Projection(pole, 0.0, 1737400.0, 1.0).xy(*own.lonlat(x + corner[0, 0], y + corner[0, 1]))
    assert (np.abs(near[0] - got.x) <= got.half + 1e-6).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 30))
def test_touching_agrees_with_all_pairs(seed: int, gap: float) -> None:
    rng = np.random.default_rng(seed)

    def some(n: int) -> Squares:
        return Squares(
            rng.uniform(0, 200, n), rng.uniform(0, 200, n), rng.choice([5.0, 9.0], n), rng.choice([-1, 1], n)
        )

    mine, others = some(30), some(20)
    apart = np.maximum(np.abs(mine.x[:, None] - others.x), np.abs(mine.y[:, None] - others.y))
    want = (apart - mine.half[:, None] - others.half < gap) & (mine.pole[:, None] == others.pole)
    np.testing.assert_array_equal(touching(mine, others, gap), want.any(axis=1))
    assert not touching(mine, others.take(np.zeros(0, int)), gap).any()


def test_rescaled_terrain_is_only_for_training(tmp_path: Path) -> None:
    """Block means of the same ground: dropped on a held-out site and where they overlap a held-out patch."""
    sites = [site("a"), site("b"), site("c")]
    patches = [p for i in range(3) for p in squares_of(4, 4, i, at=(20000.0 * i, 0.0))]
    for i in range(3):
        sites.append(site("abc"[i], pixel_m=40.0, whole=i))
        means = squares_of(2, 2, 3 + i)
        patches += [
            {
                **p,
                "on_grid": False,
                "x0": 20000.0 * i + 40.0 * (p["col"] + SIZE / 2),
                "y0": -40.0 * (p["row"] + SIZE / 2),
            }
            for p in means
        ]
    split = SplitSection(method="site", test_sites=["b"], validation_sites=["c"])
    labels = run(tmp_path, patches, sites, split)["patches"]
    found = {i: {labels[str(p["id"])] for p in patches if p["site"] == i} for i in range(6)}
    assert found == {
        0: {"train"},
        1: {"test"},
        2: {"validation"},
        3: {"train"},
        4: {"dropped"},
        5: {"dropped"},
    }
    # One held-out patch of a site: of its block means, those that lie on it are dropped.
    split = SplitSection(method="random", test=0.05, validation=0.05, seed=3)
    labels = run(tmp_path, patches, sites, split)["patches"]
    for i in range(3):
        held = {(p["row"] // 32, p["col"] // 32) for p in patches
                if p["site"] == i and labels[str(p["id"])] != "train"}  # fmt: skip
        for p in patches:
            if p["site"] == 3 + i:
                on_it = (p["row"] // 16, p["col"] // 16) in held
                assert labels[str(p["id"])] == ("dropped" if on_it else "train")
    assert "dropped" in labels.values()
