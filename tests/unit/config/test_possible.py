"""What would only fail after hours is named while the workflow is planned."""

from __future__ import annotations

from typing import Any

import pytest
from snakemake.utils import update_config

from pipeline.config.root import ConfigError, load_config

BRIDGE = {"systems": ["bridge"], "primary": "bridge_missing"}
RESIDUAL = {"vae": {"target": "residual"}, "published": {"target": "residual"}}
INDEX = {"method": "index", "index": {"train": "a", "validation": "b", "test": "c"}}
FAR = {"halo_px": 39, "far_m": 1000, "far_cell_px": 18}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"run": "store"}, "run: expected another name than that of a folder that all runs share, found 'st"),
        (
            {"run": "logs"},
            "run: expected another name than that of a folder that all runs share, found 'logs'",
        ),
        (
            {"published": {"patch_px": 5}},
            "published.patch_px: expected a divisor of 12, patches.size_px / 8 of the latents, found 5",
        ),
        (
            BRIDGE | {"bridge": {"space": "pixel", "patch_px": 7}},
            "bridge.patch_px: expected a divisor of 96, patches.size_px, found 7",
        ),
        ({"vae": {"gan_base": 40}}, "vae.gan_base: expected at most 32 or a multiple of 16, found 40"),
        (
            {"predictors": {"scored": ["yasuda"], "yasuda": {"widths": [4, 4, 4, 4, 4, 4]}}},
            "predictors.yasuda.widths: expected at most 5, since patches.size_px = 96 is halved for each, fo",
        ),
        (
            {
                "predictors": {
                    "scored": ["deep"],
                    "variants": {"deep": {"of": "diffusion", "widths": [4] * 6}},
                }
            },
            "predictors.variants.deep.widths: expected at most 5, since",
        ),
        *(
            (
                {"evaluation": {"conditions": {"main": {}, name: {}}}},
                "evaluation.conditions: expected names of letters, digits and _ that begin with no digit, "
                f"and not 'floor', found {name!r}",
            )
            for name in ("floor", "high sun", "a/b", "5_images", "")
        ),
        (
            {"split": {"method": "site", "test_sites": ["a*", "b"], "validation_sites": ["c", "a*"]}},
            "split.test_sites: expected no pattern of split.validation_sites, found ['a*']",
        ),
        (
            {"predictors": {"variants": {"collect": {"of": "gan"}}}},
            "predictors.variants.collect: expected another name than that of a rule, found it",
        ),
        (
            {"predictors": {"bridges": {"collect": {"weights": "w"}}}},
            "predictors.bridges.collect: expected another name than that of a rule, found it",
        ),
        (
            {"split": INDEX, "patches": {"stride_px": 48}},
            "patches.stride_px: expected patches.size_px = 96 with split.method 'index' (another stride numb",
        ),
        (
            {"scenes": {}, "illumination": FAR, "patches": {"halo_px": 48}},
            "illumination.halo_px: expected whole cells of patches.factor = 16 px for 2 x illumination.far_ce"
            "ll_px = 36 with section scenes, found 39 (32 in whole cells)",
        ),
        (
            RESIDUAL,
            "published.lr_halo_px: expected 32 or more, since the VAE learns residuals of a bicubic with a "
            "halo of 2 cells, found 0",
        ),
    ],
)
def test_what_a_stage_would_refuse_is_named(raw: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(raw)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        {"run": "stores"},
        BRIDGE | {"bridge": {"space": "pixel", "patch_px": 8}},
        BRIDGE | {"published": {"patch_px": 5}},
        {"vae": {"gan_base": 48}},
        {"vae": {"gan_base": 20}},
        {"vae": {"gan_base": 40, "gan_weight": 0}},
        {"predictors": {"yasuda": {"widths": [4, 4, 4, 4, 4, 4]}}},
        {"evaluation": {"conditions": {"images_5": {}}}},
        {"split": INDEX},
        {"illumination": FAR, "patches": {"halo_px": 48}},
        {"scenes": {}, "illumination": FAR | {"halo_px": 48}, "patches": {"halo_px": 48}},
        {"vae": {"target": "residual"}, "published": {"target": "residual", "lr_halo_px": 32}},
        {
            "vae": {"target": "residual"},
            "published": {"target": "residual", "lr_halo_px": 48},
            "patches": {"halo_px": 48},
        },
        RESIDUAL | {"patches": {"halo_px": 0}},
    ],
)
def test_what_works_is_accepted(raw: dict[str, Any]) -> None:
    """Also impossible values of what is neither trained nor scored."""
    merged: dict[str, Any] = {"evaluation": {"conditions": {"main": {}}}}
    update_config(merged, raw)
    load_config(merged)
