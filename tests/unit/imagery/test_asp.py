"""Exposures in lists of the Ames Stereo Pipeline."""

from __future__ import annotations

import pytest

from pipeline.imagery.suns.asp import of_image, read_exposures


def test_exposures_by_image(tmp_path):
    path = tmp_path / "run-exposures.txt"
    path.write_text("a/M111578606LE.tif 0.9\n\nb.tif\t1.25\nb.tif 1.25\n")
    found = read_exposures(path)
    assert found == {"a/M111578606LE.tif": 0.9, "b.tif": 1.25}
    assert of_image(found, "c/M111578606LE.map.tif") == 0.9
    assert of_image(found, "x/b.tif") == 1.25
    assert of_image(found, "M111578606RE.tif") is None
    assert of_image(found, "c.tif") is None
    with pytest.raises(ValueError, match=r"expected one value for the file name b.tif, found 1 and 2"):
        of_image({"a/b.tif": 1, "c/b.tif": 2}, "b.tif")


@pytest.mark.parametrize(
    "text", ["", "a.tif\n", "a.tif 1 2\n", "a.tif x\n", "a.tif 0\n", "a 1\na 2\n", "a inf\n"]
)
def test_bad_lists_are_refused(tmp_path, text):
    path = tmp_path / "exposures.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"exposures.txt.*: expected .*, found "):
        read_exposures(path)
