"""Names of downloads."""

from __future__ import annotations

import pytest

from pipeline.config.root import ConfigError
from pipeline.provenance.inputs import download_place


@pytest.mark.parametrize(
    "url",
    [
        "https://a/b/dem.tif",
        "https://a/b/dem.tif?path=/x/y.tif",
        "https://a/dem.tif?from=a/..",
        "https://a/dem.tif#band/1",
        "https://a/b/dem.tif/",
    ],
)
def test_a_download_has_the_name_at_the_end_of_the_urls_path(url: str) -> None:
    assert download_place(url) == ("dem.tif", "resources/downloads/dem.tif")


@pytest.mark.parametrize(
    "url", ["https://a", "https://a/", "https://a/b/..", "https://a/.", "https://a?x=/dem.tif"]
)
def test_a_url_without_a_file_name_is_refused(url: str) -> None:
    with pytest.raises(
        ConfigError, match="inputs: expected URLs whose path ends in a file name, found "
    ) as no:
        download_place(url)
    assert repr(url) in str(no.value)
