"""What estimates leave of images that they were not shown, against closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shard_files import make_test_manifest

from pipeline.config.evaluation import Condition
from pipeline.config.photometry import PhotometrySection
from pipeline.config.stages.evaluation import PredictorStage
from pipeline.evaluation.conditions import batch_under
from pipeline.evaluation.metrics import PatchScores
from pipeline.evaluation.withheld import MOST, WithheldImages, distinct, withheld
from pipeline.shards.shard_set import ShardSet

LAMBERT = PhotometrySection(law="lambert")
UP = np.array([[0.0, 0.0, 1.0]])


def plane(slope: float, size: int = 16) -> np.ndarray:
    return slope * np.arange(size)[None, :].repeat(size, axis=0) * 20.0


def images(truth: np.ndarray, suns: np.ndarray, visible: int = 255) -> WithheldImages:
    return WithheldImages(truth, np.full((len(suns), *truth.shape), visible, np.uint8), suns, 20.0, LAMBERT)


def test_the_truth_leaves_nothing_and_heights_may_be_moved() -> None:
    truth = np.random.default_rng(0).normal(0, 5, (16, 16))
    suns = np.array([[0.6, 0.0, 0.8], [0.0, -0.8, 0.6]])
    found = images(truth, suns)
    assert found.misfit(truth + 100.0) < 1e-20 < found.power
    assert found.misfit(np.zeros((16, 16))) > 0.001 * found.power


def test_misfit_of_a_valley_against_the_closed_form() -> None:
    t, size = 0.3, 18
    valley = 20.0 * t * np.abs(np.arange(size) - (size - 1) / 2)[None, :].repeat(size, axis=0)
    # By central differences the two columns at its bottom have half of the slope.
    slope = np.array([-t] * 7 + [-t / 2, t / 2] + [t] * 7)
    bright = (0.8 - 0.6 * slope) / np.hypot(1, slope)
    found = images(valley, np.array([[0.6, 0.0, 0.8]]))
    # A flat estimate is scaled to the mean.
    ratio = found.misfit(np.zeros_like(valley)) / found.power
    assert ratio == pytest.approx(bright.var() / (bright**2).mean(), rel=1e-9)


def test_shadows_and_penumbras_do_not_count() -> None:
    truth = plane(0.1)
    assert images(truth, UP, visible=254).power == 0.0
    half = np.full((1, 16, 16), 255, np.uint8)
    half[:, :, 8:] = 0
    other = truth.copy()
    other[:, 10:] = np.random.default_rng(1).normal(0, 30, (16, 6))
    assert WithheldImages(truth, half, UP, 20.0, LAMBERT).misfit(other) < 1e-20


def test_a_direction_that_is_shown_or_repeated_is_not_withheld() -> None:
    images = np.array([7, 3, 7, 5, 5, 9, 3])
    np.testing.assert_array_equal(
        distinct(images, np.array([6, 4, 3, 5])), [4, 5]
    )  # 3 is shown, 5 comes twice
    np.testing.assert_array_equal(distinct(images, np.arange(7)), [0, 1, 3, 5])
    assert distinct(images, np.array([1, 2])).size == 0
    assert distinct(images, np.array([], np.int64)).size == 0


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    path: Path = tmp_path_factory.mktemp("test")
    return ShardSet(make_test_manifest(path, count=2), "test")


def test_a_condition_withholds_what_it_does_not_show(shards: ShardSet) -> None:
    section = PredictorStage(name="p", module=__name__, make="none", cpu_threads=1, seed=3)
    place = shards.at(1)
    every = batch_under(Condition(), "x", [place], section, 0, torch.device("cpu"))
    assert every.dem is not None
    truth = every.dem[0].numpy()
    assert withheld(None, place, section, truth) is None
    assert withheld(Condition(), place, section, truth) is None
    total = every.images.shape[1]
    few = withheld(Condition(images=total - 1), place, section, truth)
    assert few is not None and len(few._suns) <= 1
    none = withheld(Condition(images=total), place, section, truth)
    assert none is not None and none.power == 0.0
    all_of_them = withheld(Condition(images=0), place, section, truth)
    assert all_of_them is not None and len(all_of_them._suns) <= min(MOST, total)
    prior = every.prior[0].numpy()
    scores = PatchScores(20.0)
    scores.add(prior, truth)
    scores.add_withheld(**all_of_them.columns(truth, prior))
    row = scores.summary(10, 0)
    assert row["withheld_residual"] < 1e-3 and row["withheld_vs_prior"] < 0.1
