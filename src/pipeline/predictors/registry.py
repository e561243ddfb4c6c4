"""Predictors by name: where their code is, and what planning must know of them.

Nothing is imported here, and no stage's code imports this: a new entry changes no other result.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One predictor.

    Attributes
    ----------
    module, make : dotted path, and the function there that makes it of a `Setup`.
    images : whether it needs images: it is scored under every condition, else once.
    floor : whether it may see the truth; its row stands under ``floors``.
    draws : whether its members differ; a deterministic one has no ensemble columns and no examples.
    files : what it reads: ``model``, ``vae``, ``calibration``; none for what is not trained.
    primary : whether they are those of the run's primary system; else a stage of its own name makes them.
    train : module of a learned rival's training, see `pipeline.training.rival`; '' for all others.
    """

    module: str
    make: str = "make"
    images: bool = True
    floor: bool = False
    draws: bool = False
    files: tuple[str, ...] = ()
    primary: bool = False
    train: str = ""


PREDICTORS = {
    "bicubic": Entry("pipeline.predictors.bicubic", "published", images=False),
    "bicubic_window": Entry("pipeline.predictors.bicubic", "window", images=False),
    "photometric": Entry("pipeline.predictors.photometric"),
    "regression": Entry(
        "pipeline.predictors.regression", files=("model",), train="pipeline.training.regression"
    ),
    "guided": Entry("pipeline.predictors.guided", files=("model",), train="pipeline.training.guided"),
    "siran": Entry("pipeline.predictors.siran", files=("model",), train="pipeline.training.siran"),
    "gan": Entry("pipeline.predictors.gan", files=("model",), train="pipeline.training.gan"),
    "yasuda": Entry(
        "pipeline.predictors.yasuda", draws=True, files=("model",), train="pipeline.training.yasuda"
    ),
    "diffusion": Entry(
        "pipeline.predictors.diffusion", draws=True, files=("model",), train="pipeline.training.diffusion"
    ),
    "kriging": Entry("pipeline.predictors.kriging"),
    "sfs": Entry("pipeline.predictors.sfs"),
    "hybrid": Entry("pipeline.predictors.hybrid", files=("model", "vae", "calibration"), primary=True),
    "vae_bicubic": Entry("pipeline.predictors.floors", "bicubic", images=False, floor=True, files=("vae",)),
    "vae_truth": Entry("pipeline.predictors.floors", "truth", images=False, floor=True, files=("vae",)),
    "bridge": Entry("pipeline.predictors.bridge", draws=True, files=("model", "vae", "calibration")),
}
#: Scored in every run: all others are compared with them.
BASELINES = ("bicubic", "bicubic_window")
#: The entry of all trained stages and of given weights, whose names in the metrics are their own.
TRAINED = "bridge"
