"""What a mistyped config is told: the key that was meant, and a section that is text."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.config.root import ConfigError, load_config


def told(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("raw", "path", "meant"),
    [
        ({"site": {"dem": "a.tif", "sun": "x.csv"}}, "site.sun", "suns"),
        ({"patchs": {}}, "patchs", "patches"),
        ({"region": {"light": {"plase": 1}}}, "region.light.plase", "place"),
        (
            {"evaluation": {"conditions": {"mine": {"ligth": "arcs"}}}},
            "evaluation.conditions.mine.ligth",
            "light",
        ),
        ({"bridge": {"stages": {"missing": {"sample": 9}}}}, "bridge.stages.missing.sample", "samples"),
        (
            {"systems": ["wide"], "primary": "wide_missing", "variants": {"wide": {"wdith": 9}}},
            "variants.wide.wdith",
            "width",
        ),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_known_one(
    raw: dict[str, Any], path: str, meant: str
) -> None:
    lines = [line for line in told(raw) if f"{path}: unknown key" in line]
    assert len(lines) == 1 and lines[0].endswith(f" (did you mean `{meant}`?)")


def test_a_key_like_none_gets_no_advice() -> None:
    (line,) = told({"site": {"xyz": 1}})
    assert line == "config: site.xyz: unknown key; see config/README.md for the keys there are"


def test_a_section_that_is_text_is_told_as_such() -> None:
    """What the command line hands on where a quote or a comma is missing in its JSON."""
    text = '{"dem": "my/ldem.tif" "images": "my/*.tif"}'
    patches, site = told({"site": text, "inputs": {"dem": None}, "patches": "x"})
    assert patches == (
        """config: patches: expected a section like '{"key": 1}', found the text 'x' """
        "(a comma or a quote missing?)"
    )
    assert site.strip() == (
        """site: expected a section like '{"dem": "my/ldem.tif"}', found the text """
        f"{text!r} (a comma or a quote missing?)"
    )


def test_the_text_null_is_still_no_section_at_all() -> None:
    """Snakemake hands a null on as text; `scenes` may be null."""
    assert load_config({"scenes": "null"}).scenes is None
