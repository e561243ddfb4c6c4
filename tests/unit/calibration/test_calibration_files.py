"""The file of a calibration: it is that of its model, and impossible values are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.models.calibration import Widened, load_calibrated
from pipeline.models.files import model_config
from pipeline.storage.calibration_law import KINDS, Calibration, Curve, Law, read_calibration
from saved_models import save_system

CURVE = {"spreads_px": [0.02, 0.1], "log_scales": [0.2, -0.1]}


LAW = {"noise": 0.01, "lit": CURVE, "unlit": {"spreads_px": [0.03], "log_scales": [0.6]}, "log_spread": 0.7}


def write(
    path: Path, model: str = "m", laws: object = None, most_px: object = 0.3, **changed: object
) -> Path:
    rows = [{**LAW, **changed}] if laws is None else laws
    content = {"schema": "calibration/4", "model": model, "most_px": most_px, "laws": rows}
    path.write_text(json.dumps(content))
    return path


def test_a_share_of_the_change_at_hits_is_read_and_given_to_the_system(tmp_path: Path) -> None:
    model = save_system(tmp_path, refine=True) / "model.safetensors"
    path = write(tmp_path / "c.json", model_config(model, "bridge")["fingerprint"])
    assert load_calibrated(model, calibration=path).hit_share == 1.0
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"hit_share": 0.25}))
    assert load_calibrated(model, calibration=path).hit_share == 0.25
    for wrong in (-0.1, 1.1, None, True, "half", float("nan")):
        path.write_text(json.dumps(content | {"hit_share": wrong}))
        with pytest.raises(ValueError, match=r"c\.json: expected hit_share from 0 to 1, found"):
            load_calibrated(model, calibration=path)


def test_a_calibration_is_that_of_its_model(tmp_path: Path) -> None:
    model = save_system(tmp_path) / "model.safetensors"
    mark = model_config(model, "bridge")["fingerprint"]
    path = write(tmp_path / "c.json", mark)
    law = Calibration((0.01,), (Law(Curve((0.02, 0.1), (0.2, -0.1)), Curve((0.03,), (0.6,)), 0.7),), 0.3)
    assert load_calibrated(model, calibration=path).widening == Widened(law)
    assert load_calibrated(model).widening is None
    with pytest.raises(ValueError, match=r"c\.json: expected the calibration of the model f00, found"):
        read_calibration(path, "f00")


@pytest.mark.parametrize("value", [None, "wide", float("nan"), float("inf"), 11, -0.1, True, [0.1]])
def test_an_impossible_tail_is_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "c.json", log_spread=value)
    with pytest.raises(ValueError, match=r"c\.json: expected log_spread from 0 to 10, found"):
        read_calibration(path, "m")


@pytest.mark.parametrize("value", [None, 0.1, [], [0.1], [0.1, 0.2, 0.3], [0.1, float("nan")], [0.1, -11]])
@pytest.mark.parametrize("name", ["lit", "unlit"])
def test_impossible_levels_are_refused(tmp_path: Path, name: str, value: object) -> None:
    path = write(tmp_path / "c.json", **{name: {**CURVE, "log_scales": value}})
    with pytest.raises(ValueError, match=rf"c\.json: {name}: expected log_scales, one for each of spreads"):
        read_calibration(path, "m")


@pytest.mark.parametrize("value", [None, [], [0.0, 0.1], [0.1, 0.1], [0.2, 0.1], [0.1, "wide"]])
@pytest.mark.parametrize("name", ["lit", "unlit"])
def test_impossible_spreads_are_refused(tmp_path: Path, name: str, value: object) -> None:
    path = write(tmp_path / "c.json", **{name: {**CURVE, "spreads_px": value}})
    with pytest.raises(ValueError, match=rf"c\.json: {name}: expected spreads_px that rise from above 0"):
        read_calibration(path, "m")


@pytest.mark.parametrize("value", [None, [0.1], "curve"])
def test_an_absent_curve_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match=r"c\.json: unlit: expected a curve, found"):
        read_calibration(write(tmp_path / "c.json", unlit=value), "m")


@pytest.mark.parametrize("noises", [[0.0], [0.02, 0.01], [0.01, 0.01], [None], ["loud"], [float("nan")]])
def test_impossible_noises_are_refused(tmp_path: Path, noises: list[object]) -> None:
    path = write(tmp_path / "c.json", laws=[{**LAW, "noise": noise} for noise in noises])
    with pytest.raises(ValueError, match=r"c\.json: expected laws whose noise rises from above 0, found"):
        read_calibration(path, "m")


def test_laws_of_kinds_are_read(tmp_path: Path) -> None:
    def rows(*kinds: str) -> list[object]:
        return [{"kind": kind, **{k: v for k, v in LAW.items() if k != "noise"}} for kind in kinds]

    found = read_calibration(write(tmp_path / "c.json", laws=rows(*KINDS[1:3])), "m")
    assert found.kinds == KINDS[1:3] and found.noises == () and len(found.laws) == 2
    for wrong in (rows("altimetry", "altimetry"), rows("radar"), [*rows("altimetry"), LAW]):
        with pytest.raises(ValueError, match=r"c\.json: expected laws of different kinds of"):
            read_calibration(write(tmp_path / "c.json", laws=wrong), "m")


@pytest.mark.parametrize("laws", [[], {}, "law", [0.1]])
def test_absent_laws_are_refused(tmp_path: Path, laws: object) -> None:
    with pytest.raises(ValueError, match=r"c\.json: expected laws, one or more, found"):
        read_calibration(write(tmp_path / "c.json", laws=laws), "m")


def test_an_absent_or_foreign_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"c\.json: expected a calibration, found no file"):
        read_calibration(tmp_path / "c.json", "m")
    (tmp_path / "c.json").write_text('{"schema": "model/1"}')
    with pytest.raises(ValueError, match=r"c\.json"):
        read_calibration(tmp_path / "c.json", "m")


@pytest.mark.parametrize("value", [None, 0.0, -1, True, "far", float("nan"), float("inf")])
def test_an_impossible_bound_is_refused(tmp_path: Path, value: object) -> None:
    path = write(tmp_path / "c.json", most_px=value)
    with pytest.raises(ValueError, match=r"c\.json: expected most_px, a number above 0, found"):
        read_calibration(path, "m")
