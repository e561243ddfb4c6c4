"""Predictors by name: the module of each, and what planning needs to know.

Predictors are not imported here, and no stage's code imports this module: a new entry changes no other key.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One predictor.

    Attributes
    ----------
    module, make : dotted path, and the function in it that makes the predictor from a `Setup`.
    images : whether it is scored under every condition; else, without images, once.
    floor : whether it may use the truth; its scores are listed under ``floors``.
    draws : whether its members differ; a deterministic predictor has no ensemble columns and no examples.
    files : roles of the files that it reads: ``model``, ``vae``, ``calibration``; none without training.
    primary : whether these are the primary system's files; else the stage of the same name makes them.
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
#: Scored in every run, for comparison.
BASELINES = ("bicubic", "bicubic_window")
#: The entry of all trained stages and of given weights, which have other names in the metrics.
TRAINED = "bridge"
