"""How much wider clones must be spread than a network's own draws: a law with two numbers.

A draw's departure from the estimate is multiplied by exp(log_scale + log_spread z), one standard normal z a
clone. The clones are then a scale mixture, as Student's t is one of Gaussians: with heavy tails,
since a network that was trained for hours does not know all that can lie in the dark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pipeline.atomic import read_json

SCHEMA = "calibration/1"
#: Name of the file beside given weights.
FILE = "calibration.json"


@dataclass(frozen=True)
class Calibration:
    """The law of the factor on a draw's departure from the estimate.

    Attributes
    ----------
    log_scale : mean of its logarithm. log_spread : standard deviation of its logarithm.
    """

    log_scale: float = 0.0
    log_spread: float = 0.0


def read_calibration(path: Path | str, fingerprint: str) -> Calibration:
    """Read what the stage ``calibration`` fitted for the model of the given fingerprint.

    Raises
    ------
    ValueError
        If the file is absent, is no calibration, holds impossible numbers, or is another model's.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: expected a calibration, found no file")
    content = read_json(path, SCHEMA)
    if content.get("model") != fingerprint:
        raise ValueError(
            f"{path}: expected the calibration of the model {fingerprint}, found that of "
            f"{content.get('model')}"
        )
    values = [content.get(name) for name in ("log_scale", "log_spread")]
    if not all(isinstance(v, float | int) and math.isfinite(v) and abs(v) <= 10 for v in values):
        raise ValueError(f"{path}: expected log_scale and log_spread of at most 10, found {values}")
    return Calibration(float(values[0]), float(values[1]))
