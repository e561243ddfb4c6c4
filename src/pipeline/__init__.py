"""Lunar topography super-resolution with Schrödinger bridges: the library behind the workflow."""

from importlib import import_module as _import_module
from typing import Any as _Any


def load(path: _Any, device: _Any = "cpu", vae: _Any = None) -> _Any:
    """Load a saved model, e.g. ``pipeline.load("pretrained/moon")``; see `pipeline.predict.load`."""
    # Imported by name: `import pipeline` stays fast, and the stages, which all import this file, do not
    # thereby depend on the models.
    return _import_module("pipeline.predict").load(path, device, vae)
