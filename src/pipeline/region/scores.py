"""Scores of a reconstructed region against the truth, and of the bicubic that it starts from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import PatchScores

Floats = NDArray[np.floating[Any]]

_RANKS_PURPOSE = 0x52533
_BOOTSTRAP = 1000


def whole_scores(truth: Floats, prior: Floats, clones: Floats, pixel_m: float, seed: int) -> dict[str, Any]:
    """Scores over all pixels of the region: the mean of the clones, and the bicubic a priori DEM.

    One region is one sample, so there are no confidence intervals.

    Parameters
    ----------
    truth, prior : (S, S) metres. clones : (M, S, S) metres, M >= 2. pixel_m : pixel size, metres.
    seed : of the random breaking of ties between ranks.

    Returns
    -------
    As `patch_scores`, without the intervals and the number of patches.
    """
    everywhere = np.zeros((1, 2), dtype=np.int64)
    scores = patch_scores(truth, prior, clones, everywhere, len(truth), pixel_m, seed)
    single = ("rmse_m_ci95", "slope_deg_ci95", "n_patches")
    return {name: {k: v for k, v in row.items() if k not in single} for name, row in scores.items()}


def patch_scores(
    truth: Floats,
    prior: Floats,
    clones: Floats,
    corners: NDArray[np.int64],
    size: int,
    pixel_m: float,
    seed: int,
) -> dict[str, Any]:
    """Scores over some patches of the region, with bootstrap intervals over patches.

    Parameters
    ----------
    truth, prior, clones, pixel_m, seed : as in `whole_scores`.
    corners : (n, 2) rows and columns of the patches in the region, n >= 1. size : their side, pixels.

    Returns
    -------
    Scores of the clones' ``mean`` and of the ``bicubic`` prior, each as `PatchScores.summary`.
    """
    mean, bicubic = PatchScores(pixel_m), PatchScores(pixel_m)
    rng = np.random.default_rng([seed, _RANKS_PURPOSE])
    for row, col in corners:
        here = np.s_[row : row + size, col : col + size]
        true = truth[here].astype(np.float64)
        mean.add_ensemble(clones[:, *here], true, rng)
        bicubic.add(prior[here], true)
    return {"mean": mean.summary(_BOOTSTRAP, seed), "bicubic": bicubic.summary(_BOOTSTRAP, seed)}


def std_scores(mean: Floats, std: Floats, truth: Floats | None, members: int) -> dict[str, float]:
    """Reliability of the published standard deviation as the error bar of the mean.

    Parameters
    ----------
    mean, std, truth : (S, S) metres; the truth is None if unknown. members : number of clones M.

    Returns
    -------
    ``rms_m`` of the std and, with the truth, ``spread_skill`` = sqrt((M + 1) / M) rms(std) / RMSE (1 when
    reliable; Fortin et al. 2014); ``within_1_std`` and ``within_2_std``, shares of the pixels whose truth is
    that close to the mean (0.683 and 0.954 for a reliable Gaussian); ``error_correlation`` of the std with
    the absolute error.
    """
    rms = float(np.sqrt(np.mean(std**2)))
    if truth is None:
        return {"rms_m": rms}
    error = np.abs(mean - truth)
    rmse = float(np.sqrt(np.mean(error**2)))
    steady = float(np.std(std)) == 0 or float(np.std(error)) == 0
    return {
        "rms_m": rms,
        "spread_skill": float(np.sqrt((members + 1) / members) * rms / rmse) if rmse > 0 else 0.0,
        "within_1_std": float(np.mean(error <= std)),
        "within_2_std": float(np.mean(error <= 2 * std)),
        "error_correlation": 0.0 if steady else float(np.corrcoef(std.ravel(), error.ravel())[0, 1]),
    }
