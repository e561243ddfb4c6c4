"""Sections of the report with pictures: terrain, images, Suns, masks, training, test patches."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from pipeline.config.arcs import ArcDraw
from pipeline.config.evaluation import Condition
from pipeline.config.names import BRIDGE_STAGES, SystemName
from pipeline.config.photometry import PhotometrySection
from pipeline.illumination.directions import sun_arc
from pipeline.models.batch import Batch
from pipeline.report.data import ReportData
from pipeline.report.figures.images import distinct_suns, draw_contact_sheet, draw_masks
from pipeline.report.figures.patches import draw_reconstruction, draw_rows, scale_ends
from pipeline.report.figures.sky import SkyView, draw_sky
from pipeline.report.figures.terrain import draw_terrain, panel_px, shown_sites, site_map
from pipeline.report.figures.training import draw_curves
from pipeline.report.html import Keys, Part, fill, note, part
from pipeline.shards.batches import assemble, read_sample
from pipeline.shards.reader import Shard
from pipeline.shards.scene import AllFibonacciScene, ImageSet, StoredScene
from pipeline.shards.shard_set import chosen
from pipeline.storage.store import StoreError
from pipeline.terrain.index import load_terrain

_SHEET = 24
_STRIPS = 8
_SKIES = 3
_UNUSED = np.random.default_rng(0)
_NO_SHARDS = "The test shards are not available."
_NO_EXAMPLES = "No example patches were stored for the primary system."
_NONE_MISSING = "The test shards hold no missing data."


def hero(data: ReportData) -> Markup:
    """One reconstruction: the example of the primary system with the median error."""
    if data.typical is None:
        return note(_NO_EXAMPLES)
    example = data.examples[data.primary][data.typical]
    side_m = example.truth.shape[0] * example.pixel_m
    figure = draw_reconstruction(example)
    return fill("hero.html", data=data, keys=Keys(data.config), figure=figure, side_m=side_m)


def terrain_part(data: ReportData) -> Part:
    """Locations of the patches and what they are used for."""
    heading = "Terrain and patches"
    if data.terrain is None or data.patches is None:
        return Part("terrain", heading, note("The terrain index or the split is not available."))
    table = data.patches
    counts: dict[str, int] = dict(Counter(table.role.tolist()))
    terrain = load_terrain(data.terrain)
    # The sites with the most patches, in the order of the index.
    per_site = Counter(table.site.tolist())
    true = [site.index for site in terrain.true_sites]
    shown = sorted(sorted(true, key=lambda s: (-per_site[s], s))[: shown_sites(len(true))])
    size = int(data.config["patches"]["size_px"])
    maps = []
    for site in shown:
        here = table.site == site
        roles = table.role[here].tolist()
        maps.append(
            site_map(terrain, site, table.row[here], table.col[here], roles, size, panel_px(len(shown)))
        )
    terrain.close()
    return part(
        "terrain",
        heading,
        data,
        figure=draw_terrain(maps, counts),
        shown=len(shown),
        sites=len(true),
        pixel_m=terrain.pixel_m,
        uses=[(role, n, f"{100 * n / len(table.role):.1f} %") for role, n in sorted(counts.items())],
    )


def _main(data: ReportData) -> Condition:
    return Condition.model_validate(data.config["evaluation"]["conditions"]["main"])


def _draw_name(data: ReportData) -> str:
    """Name of the main condition's draw of arcs, or the first of all draws."""
    main = _main(data)
    return main.draw if main.light == "arcs" else sorted(data.config["arcs"]["test"])[0]


def _place(data: ReportData) -> tuple[Shard, int]:
    """Shard and position of the typical example's patch, or of the first test patch."""
    assert data.shards is not None
    for index in range(len(data.shards)):
        shard, patch = data.shards.at(index)
        if int(shard.ids[patch]) == data.typical:
            return shard, patch
    return data.shards.at(0)


def _batch(shard: Shard, patch: int, images: ImageSet, photometry: PhotometrySection) -> Batch:
    sample = read_sample(shard, patch, images, 0)
    with torch.no_grad():
        return assemble([sample], 0, int(shard.attrs["factor"]), photometry)


def images_part(data: ReportData) -> Part:
    """Contact sheets of one test patch, complete and with missing data."""
    heading = "Images of a test patch"
    if data.shards is None:
        return Part("images", heading, note(_NO_SHARDS))
    shard, patch = _place(data)
    name, main = _draw_name(data), _main(data)
    fibonacci = main.light == "fibonacci"
    try:
        scene: Any = AllFibonacciScene() if fibonacci else StoredScene(name, False)
        images = scene.image_set(shard, patch, _UNUSED)
    except StoreError as error:
        return Part("images", heading, note(f"No stored draw of images: {error}."))
    picked, repeats = distinct_suns(images.suns, _SHEET)
    batch = _batch(shard, patch, images, data.photometry)
    return part(
        "images",
        heading,
        data,
        sheet=_sheet(shard, batch, images, picked, repeats),
        patch=int(shard.ids[patch]),
        drawn=len(images.suns),
        distinct=len(np.unique(np.round(images.suns, 6), axis=0)),
        shown=len(picked),
        origin="illumination.fibonacci" if fibonacci else f"arcs.test.{name}",
        missing=_missing_sheet(data, shard, patch, name),
        strips=min(_STRIPS, len(images.suns)),
        main=main,
    )


def _sheet(shard: Shard, batch: Batch, images: ImageSet, picked: Any, repeats: Any) -> bytes:
    """The picked images of a patch, as a PNG."""
    radiance, valid = (field[0].numpy()[picked] for field in (batch.images, batch.valid))
    return draw_contact_sheet(radiance, valid, images.suns[picked], repeats, float(shard.attrs["pixel_m"]))


def _missing_sheet(data: ReportData, shard: Shard, patch: int, name: str) -> bytes | str:
    """A PNG of the first images with missing data, or a sentence why there is none."""
    try:
        images = StoredScene(name, True).image_set(shard, patch, _UNUSED)
    except StoreError:
        return _NONE_MISSING
    batch = _batch(shard, patch, images, data.photometry)
    if bool(batch.valid.all()):
        return "Every image of this patch is complete in the stored draw: masks.test removes no data here."
    return _sheet(shard, batch, images, slice(_STRIPS), None)


def suns_part(data: ReportData) -> Part:
    """Sky plots of a few test patches."""
    heading = "Sun arcs"
    if data.shards is None:
        return Part("suns", heading, note(_NO_SHARDS))
    name = _draw_name(data)
    draw = ArcDraw.model_validate(data.config["arcs"]["test"][name])
    place = "assumed" if draw.place == "assumed" else "true"
    one = draw.place != "ephemeris" and draw.declination.low == draw.declination.high
    declination = draw.declination.low if one else 0.0
    views = []
    for index in chosen(len(data.shards), _SKIES):
        shard, patch = data.shards.at(index)
        try:
            draws = shard.draws(name)
        except StoreError as error:
            return Part("suns", heading, note(f"No stored draw of images: {error}."))
        picked = draws["images"][patch]
        picked = picked[picked >= 0]
        lon, lat = float(draws["lon"][patch]), float(draws["lat"][patch])
        title = f"patch {int(shard.ids[patch])}: {len(picked)} images\n{place} lon {lon:.1f}°, lat {lat:.1f}°"
        arc = sun_arc(lon, lat, declination)
        views.append(SkyView(title, shard.fixed_suns, shard.fixed_suns[picked], arc))
    values = {"views": views, "name": name, "place": place, "one": one, "declination": declination}
    return part("suns", heading, data, figure=draw_sky(views), **values)


def masks_part(data: ReportData) -> Part:
    """Missing data, and the number of images with data at each pixel."""
    heading = "Missing data"
    if data.shards is None:
        return Part("masks", heading, note(_NO_SHARDS))
    shard, patch = _place(data)
    try:
        images = StoredScene(_draw_name(data), True).image_set(shard, patch, _UNUSED)
    except StoreError:
        return Part("masks", heading, note(_NONE_MISSING))
    batch = _batch(shard, patch, images, data.photometry)
    valid, radiance = batch.valid[0].numpy(), batch.images[0].numpy()
    if valid.all():
        return Part("masks", heading, note("Every image of the shown patch is complete."))
    figure = draw_masks(valid, radiance, float(shard.attrs["pixel_m"]))
    values = {"patch": int(shard.ids[patch]), "count": valid.sum(axis=0), "images": len(valid)}
    return part("masks", heading, data, figure=figure, **values)


def training_part(data: ReportData) -> Part:
    """Loss curves, one row per system."""
    curves = data.curves
    groups = [["loss", "reconstruction"], ["generator", "critic"], ["kl"]]
    vae = draw_curves([("VAE", curves["vae"])], groups) if curves.get("vae") else None
    bridges = []
    for system in data.config["systems"]:
        names = [SystemName(system, stage) for stage in BRIDGE_STAGES]
        names = [name for name in names if curves.get(str(name))]
        if names:
            figure = draw_curves([(str(name), curves[str(name)]) for name in names])
            paths = ["process", "score", "space", *(f"stages.{name.stage}.samples" for name in names)]
            score, sections = _section(data, system)
            bridges.append(
                (
                    system,
                    len(names),
                    figure,
                    score,
                    [f"{section}.{path}" for section in sections for path in paths],
                )
            )
    if vae is None and not bridges:
        return Part("training", "Training", note("No training curves are available."))
    return part("training", "Training", data, vae=vae, bridges=bridges)


def _section(data: ReportData, system: str) -> tuple[str, list[str]]:
    """Loss of a system, and the sections of the config that hold its keys, the most particular first."""
    variants = data.config.get("variants", {})
    if system not in variants:
        return data.config[system].get("score", "squared"), [system]
    merged = {**data.config["bridge"], **variants[system]}
    return merged.get("score", "squared"), [f"variants.{system}", "bridge"]


def patches_part(data: ReportData) -> Part:
    """Rows of test patches, then the reconstructions of one patch by all systems."""
    heading = "Test patches"
    if data.typical is None:
        return Part("patches", heading, note(_NO_EXAMPLES))
    found = data.examples[data.primary]
    rows = [found[data.ranked[i]] for i in chosen(len(data.ranked), data.report.patches)]
    compared = [
        replace(data.examples[s][data.typical], label=s.replace("_", "\n", 1))
        for s in sorted(data.ordered(data.examples), key=lambda s: s != data.primary)
        if data.typical in data.examples[s]
    ]
    # Colour scales set by the bicubic's error, which all systems should beat.
    start, _ = scale_ends([replace(compared[0], mean=compared[0].prior)])
    return part(
        "patches",
        heading,
        data,
        rows=draw_rows(rows, *scale_ends(rows)),
        count=len(rows),
        cell_m=rows[0].pixel_m * rows[0].factor,
        compared=draw_rows(compared, start, start) if len(compared) > 1 else None,
        systems=len(compared),
    )
