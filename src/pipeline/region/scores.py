"""How good a reconstructed region is: against the truth, and against the bicubic it starts from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import PatchScores
from pipeline.region.ground import Ground

Floats = NDArray[np.floating[Any]]

_RANKS_PURPOSE = 0x52533
_BOOTSTRAP = 1000


def whole_scores(ground: Ground, clones: Floats, seed: int) -> dict[str, Any]:
    """Scores over all pixels of the region: the mean of the clones, and the bicubic a priori DEM.

    One region is one sample, so there are no confidence intervals.

    Parameters
    ----------
    ground : truth and a priori DEM. clones : (M, S, S) metres. seed : of broken ties between ranks.
    """
    everywhere = np.zeros((1, 2), dtype=np.int64)
    scores = _scores(ground, clones, everywhere, ground.grid.height, seed)
    single = ("rmse_m_ci95", "slope_deg_ci95", "n_patches")
    return {name: {k: v for k, v in row.items() if k not in single} for name, row in scores.items()}


def patch_scores(
    ground: Ground, clones: Floats, corners: NDArray[np.int64], size: int, seed: int
) -> dict[str, Any]:
    """Scores over some patches of the region, with intervals over patches.

    Parameters
    ----------
    corners : (n, 2) rows and columns of the patches in the region, n >= 1. size : their side, pixels.
    """
    return _scores(ground, clones, corners, size, seed)


def _scores(
    ground: Ground, clones: Floats, corners: NDArray[np.int64], size: int, seed: int
) -> dict[str, Any]:
    mean, bicubic = PatchScores(ground.grid.pixel_m), PatchScores(ground.grid.pixel_m)
    rng = np.random.default_rng([seed, _RANKS_PURPOSE])
    for row, col in corners:
        here = np.s_[row : row + size, col : col + size]
        truth = ground.truth[here].astype(np.float64)
        mean.add_ensemble(clones[:, *here], truth, rng)
        bicubic.add(ground.prior[here], truth)
    return {"mean": mean.summary(_BOOTSTRAP, seed), "bicubic": bicubic.summary(_BOOTSTRAP, seed)}


def std_scores(mean: Floats, std: Floats, truth: Floats, members: int) -> dict[str, float]:
    """What the published standard deviation is worth as the error bar of the mean.

    Parameters
    ----------
    mean, std, truth : (S, S) metres. members : clones M.

    Returns
    -------
    ``rms_m`` of the std; ``spread_skill`` = sqrt((M + 1) / M) rms(std) / RMSE (1 when reliable; Fortin et al.
    2014); ``within_1_std`` and ``within_2_std``, shares of the pixels whose truth lies that close to the mean
    (0.683 and 0.954 for a reliable Gaussian); ``error_correlation`` of the std with the absolute error.
    """
    error = np.abs(mean - truth)
    rmse, rms = float(np.sqrt(np.mean(error**2))), float(np.sqrt(np.mean(std**2)))
    steady = float(np.std(std)) == 0 or float(np.std(error)) == 0
    return {
        "rms_m": rms,
        "spread_skill": float(np.sqrt((members + 1) / members) * rms / rmse) if rmse > 0 else 0.0,
        "within_1_std": float(np.mean(error <= std)),
        "within_2_std": float(np.mean(error <= 2 * std)),
        "error_correlation": 0.0 if steady else float(np.corrcoef(std.ravel(), error.ravel())[0, 1]),
    }
