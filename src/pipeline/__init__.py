"""Lunar topography super-resolution with Schrödinger bridges: the library behind the workflow."""

from importlib import import_module as _import_module
from typing import Any as _Any


def load(path: _Any, device: _Any = "cpu", vae: _Any = None) -> _Any:
    """Load a saved model, e.g. ``pipeline.load("pretrained/moon")``; see `pipeline.predict.load`."""
    # By name: `import pipeline` stays light, and no stage, all of which import this file, depends on models
    # for it.
    return _import_module("pipeline.predict").load(path, device, vae)
