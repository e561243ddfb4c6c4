"""Laws of reflectance: each name has a module, and a name without one is refused."""

from __future__ import annotations

import inspect
import math
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from pipeline.config.photometry import LAWS, PhotometrySection, law_module
from pipeline.config.root import load_config
from pipeline.illumination import laws
from pipeline.illumination.photometry import radiance
from pipeline.provenance.plan import Plan

ROOT = Path(__file__).resolve().parents[3]
LEVEL, OVERHEAD = torch.zeros(2, 4, 4), torch.tensor([[[0.0, 0.0, 1.0]]] * 2)


def test_config_and_modules_know_the_same_laws():
    assert PhotometrySection.model_json_schema()["properties"]["law"]["enum"] == list(LAWS)
    modules = [f"pipeline.illumination.laws.{module.name}" for module in pkgutil.iter_modules(laws.__path__)]
    assert sorted(LAWS.values()) == sorted(modules)


@pytest.mark.parametrize("law", LAWS)
def test_each_law_is_a_function_of_angles_and_the_section(law):
    function = import_module(law_module(law)).radiance_factor
    assert list(inspect.signature(function).parameters) == ["mu0", "mu", "phase", "section"]
    angles = torch.tensor([0.5, 0.8]), torch.tensor([[0.9], [0.7], [0.2]]), torch.tensor(0.3)
    value = function(*angles, PhotometrySection(law=law))
    assert torch.equal(value.expand(3, 2), function(*torch.broadcast_tensors(*angles), PhotometrySection()))


def test_a_name_without_a_law_is_refused():
    message = r"one of exponential, lambert, lunar_lambert, hapke, found 'minnaert'"
    with pytest.raises(ValueError, match=message):
        PhotometrySection(law="minnaert")
    unchecked = PhotometrySection.model_construct(law="minnaert")
    with pytest.raises(ValueError, match=f"expected a law of reflectance, {message}"):
        radiance(LEVEL, 20.0, OVERHEAD, None, unchecked)


def test_a_name_in_the_config_only_is_refused_at_start_and_at_use(monkeypatch, tmp_path):
    monkeypatch.setitem(LAWS, "minnaert", "pipeline.illumination.laws.minnaert")
    section = PhotometrySection(law="minnaert")
    with pytest.raises(
        ValueError,
        match=r"photometry\.law: expected pipeline\.illumination\.laws\.minnaert\.radiance_factor for the "
        r"law 'minnaert', found none",
    ):
        radiance(LEVEL, 20.0, OVERHEAD, None, section)
    config = load_config({"photometry": {"law": "minnaert"}, "coverage": {"min_share": 0}})
    with pytest.raises(ValueError, match=r"expected a module .*found 'pipeline\..*\.minnaert'"):
        Plan(config, tmp_path)


def test_a_module_without_the_function_is_refused(monkeypatch):
    monkeypatch.setitem(LAWS, "empty", "pipeline.illumination.laws")
    with pytest.raises(ValueError, match=r"laws\.radiance_factor for the law 'empty', found none"):
        radiance(LEVEL, 20.0, OVERHEAD, None, PhotometrySection(law="empty"))


def test_the_law_of_the_documentation_is_a_module_and_an_entry(monkeypatch, tmp_path):
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    (text,) = (t for t in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S) if "radiance_factor" in t)
    (entry,) = re.findall(r'`"(lommel_seeliger)": "(.*?)"`', page)
    (tmp_path / "lommel_seeliger.py").write_text(text)
    monkeypatch.setattr(laws, "__path__", [*laws.__path__, str(tmp_path)])
    monkeypatch.setitem(LAWS, *entry)
    section = PhotometrySection(law="lommel_seeliger", albedo=0.2)
    dem = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0)) * 5
    # Lunar-Lambert at phase 0 has L = 1: the Lommel-Seeliger law.
    same = radiance(dem, 20.0, OVERHEAD, None, PhotometrySection(law="lunar_lambert", albedo=0.2))
    torch.testing.assert_close(radiance(dem, 20.0, OVERHEAD, None, section), same)
    found = radiance(LEVEL.numpy(), 20.0, OVERHEAD.numpy(), None, section)
    assert found == pytest.approx(0.2 * math.pi)
