"""Parts of the report that are pictures: terrain, images, Suns, masks, training, test patches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pipeline.config.arcs import ArcDraw
from pipeline.config.evaluation import Condition
from pipeline.config.names import BRIDGE_STAGES, SystemName
from pipeline.config.photometry import PhotometrySection
from pipeline.drawing.relief import LIGHT
from pipeline.illumination.directions import sun_arc
from pipeline.models.batch import Batch
from pipeline.report.data import ReportData
from pipeline.report.figures.images import distinct_suns, draw_contact_sheet, draw_masks
from pipeline.report.figures.patches import draw_reconstruction, draw_rows, scale_ends
from pipeline.report.figures.sky import SkyView, draw_sky
from pipeline.report.figures.terrain import draw_terrain, panel_px, shown_sites, site_map
from pipeline.report.figures.training import draw_curves
from pipeline.report.html import Keys, Part, note, picture, text_table
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


def hero(data: ReportData) -> str:
    """One reconstruction: the example of the primary system with the median error."""
    if data.typical is None:
        return note("No example patches were stored for the primary system.")
    example = data.examples[data.primary][data.typical]
    side = example.truth.shape[0] * example.pixel_m
    return picture(
        draw_reconstruction(example),
        f"Three hillshades of test patch {data.typical}: a priori DEM, mean of the clones, true DEM",
        f"Test patch {data.typical}, {side:g} m wide, as {data.primary} reconstructs it: of the "
        f"{len(data.ranked)} stored examples the one with the median error. Hillshades, {LIGHT}; one grey "
        "scale.",
        Keys(data.config)("primary", "patches.factor", "patches.size_px", "evaluation.members"),
    )


def terrain_part(data: ReportData) -> Part:
    """Where the patches lie and what they are used for."""
    keys = Keys(data.config)
    if data.terrain is None or data.patches is None:
        return Part("terrain", "Terrain and patches", note("The terrain index or the split is not at hand."))
    table = data.patches
    counts: dict[str, int] = dict(Counter(table.role.tolist()))
    terrain = load_terrain(data.terrain)
    # The sites with the most patches, in the order of the index.
    per_site = Counter(table.site.tolist())
    sites = len(terrain.sites)
    shown = sorted(sorted(range(sites), key=lambda s: (-per_site[s], s))[: shown_sites(sites)])
    size = int(data.config["patches"]["size_px"])
    maps = []
    for site in shown:
        here = table.site == site
        roles = table.role[here].tolist()
        maps.append(
            site_map(terrain, site, table.row[here], table.col[here], roles, size, panel_px(len(shown)))
        )
    terrain.close()
    left_out = f" {sites - len(shown)} sites with fewer patches are not shown." if len(shown) < sites else ""
    body = picture(
        draw_terrain(maps, counts),
        f"Map of {len(shown)} sites with {len(table.role)} patches coloured by split",
        f"Hillshade of the input DEM ({terrain.pixel_m:g} m pixels, reduced for display; {LIGHT}), tinted by "
        f"what each patch of {size} x {size} px is used for. Pale areas hold no data.{left_out}",
        keys("patches.size_px", "patches.stride_px", "split.method", "split.block_px", "split.gap_px",
             "coverage.min_share"),
    )  # fmt: skip
    body += text_table(
        "Patches by use.", ("use", "patches", "share"),
        [(role, n, f"{100 * n / len(table.role):.1f} %") for role, n in sorted(counts.items())],
        keys("split.validation", "split.test", "split.seed"),
    )  # fmt: skip
    if table.reasons:
        body += text_table(
            "Why patches were left out.", ("reason", "patches"), list(table.reasons.items()),
            keys("coverage.min_share", "split.gap_px"),
        )  # fmt: skip
    else:
        body += note("No patch was left out.")
    return Part("terrain", "Terrain and patches", body)


def _main(data: ReportData) -> Condition:
    return Condition.model_validate(data.config["evaluation"]["conditions"]["main"])


def _draw_name(data: ReportData) -> str:
    """The named draw of the main condition, or the first there is."""
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
    """Contact sheets of one test patch, whole and with missing data."""
    heading = "Images of a test patch"
    keys = Keys(data.config)
    if data.shards is None:
        return Part("images", heading, note("The test shards are not at hand."))
    shard, patch = _place(data)
    name, fibonacci = _draw_name(data), _main(data).light == "fibonacci"
    try:
        scene: Any = AllFibonacciScene() if fibonacci else StoredScene(name, False)
        images = scene.image_set(shard, patch, _UNUSED)
    except StoreError as error:
        return Part("images", heading, note(f"No stored draw of images: {error}."))
    batch = _batch(shard, patch, images, data.photometry)
    pixel_m, number = float(shard.attrs["pixel_m"]), int(shard.ids[patch])
    picked, repeats = distinct_suns(images.suns, _SHEET)
    law = ("photometry.law", "photometry.albedo", "photometry.phase_unit")
    origin = ("illumination.fibonacci",) if fibonacci else (f"arcs.test.{name}",)
    radiance = batch.images[0].numpy()
    distinct = len(np.unique(np.round(images.suns, 6), axis=0))
    shown = "all" if len(picked) == distinct else f"{len(picked)} evenly chosen"
    body = picture(
        draw_contact_sheet(
            radiance[picked], batch.valid[0].numpy()[picked], images.suns[picked], repeats, pixel_m
        ),
        f"{len(picked)} images of test patch {number} under different Suns, with azimuth and elevation of "
        "each",
        f"Test patch {number}: {len(images.suns)} images drawn, {distinct} distinct Suns ({shown} shown, "
        "by azimuth; “2 x” marks an image drawn twice). Radiance factor I/F, computed from the stored "
        "visibility as in evaluation; black is 0 and white the image's own 99.5th percentile, printed "
        "below it. az: azimuth of the Sun, clockwise from map up; el: its elevation.",
        keys(*origin, "illumination.halo_px", "illumination.sun", *law),
    )
    return Part("images", heading, body + _missing_sheet(data, shard, patch, name))


def _missing_sheet(data: ReportData, shard: Shard, patch: int, name: str) -> str:
    keys = Keys(data.config)
    try:
        images = StoredScene(name, True).image_set(shard, patch, _UNUSED)
    except StoreError:
        return note("The test shards hold no missing data.")
    batch = _batch(shard, patch, images, data.photometry)
    if bool(batch.valid.all()):
        return note("The stored draw leaves every image of this patch whole: masks.test loses no data here.")
    picked = np.arange(min(_STRIPS, len(images.suns)))
    used = "The main condition has this missing data." if _main(data).missing else (
        "The main condition has no missing data."
    )  # fmt: skip
    shape = "strip" if data.config["masks"]["test"]["kind"] == "strip" else "swath of a narrow-angle camera"
    return picture(
        draw_contact_sheet(
            batch.images[0].numpy()[picked],
            batch.valid[0].numpy()[picked],
            images.suns[picked],
            None,
            float(shard.attrs["pixel_m"]),
        ),
        f"{len(picked)} images of test patch {int(shard.ids[patch])} that keep only a part each",
        f"The first {len(picked)} images of the same patch with missing data: each keeps one {shape}, the "
        f"rest is pale. {used} Radiance factor I/F, scaled as above.",
        keys("masks.test", "masks.seed", "evaluation.conditions.main.missing"),
    )


def suns_part(data: ReportData) -> Part:
    """Sky plots of a few test patches."""
    heading = "Sun arcs"
    if data.shards is None:
        return Part("suns", heading, note("The test shards are not at hand."))
    name = _draw_name(data)
    draw = ArcDraw.model_validate(data.config["arcs"]["test"][name])
    place = "assumed" if draw.place == "assumed" else "true"
    one = draw.place != "ephemeris" and draw.declination.low == draw.declination.high
    declination = draw.declination.low if one else 0.0
    of = "the arc" if one else "the Sun's own path, which its declination moves by up to 1.6 degrees"
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
    return Part(
        "suns",
        heading,
        picture(
            draw_sky(views),
            f"{len(views)} polar plots of the sky with offered and chosen Sun directions",
            f"The sky above {len(views)} test patches: zenith in the middle, horizon outside, azimuth "
            f"clockwise from map up; ring labels are elevations. Grey: the {len(views[0].offered)} fixed "
            f"directions. Blue: the Sun's path over one lunar day at the patch's {place} place (declination "
            f"{declination:g}; longitudes from the map's central meridian). Orange: directions drawn for the "
            "patch, by area as often as they were drawn; all lie within the chord distance arcs.tolerance of "
            f"{of}.",
            Keys(data.config)(f"arcs.test.{name}", "arcs.tolerance", "arcs.seed"),
        ),
    )


def masks_part(data: ReportData) -> Part:
    """Strips of missing data and how many images are left at each pixel."""
    heading = "Missing data"
    if data.shards is None:
        return Part("masks", heading, note("The test shards are not at hand."))
    shard, patch = _place(data)
    name = _draw_name(data)
    try:
        images = StoredScene(name, True).image_set(shard, patch, _UNUSED)
    except StoreError:
        return Part("masks", heading, note("The test shards hold no missing data."))
    batch = _batch(shard, patch, images, data.photometry)
    valid, radiance = batch.valid[0].numpy(), batch.images[0].numpy()
    if valid.all():
        return Part("masks", heading, note("Every image of the shown patch is whole: none has missing data."))
    count = valid.sum(axis=0)
    return Part(
        "masks",
        heading,
        picture(
            draw_masks(valid, radiance, float(shard.attrs["pixel_m"])),
            "Strip masks of a few images and two maps of how many images have data at each pixel",
            f"Test patch {int(shard.ids[patch])}. Left: the first images that lose data, kept part light. "
            f"Right: number of images with data at each pixel ({count.min()} to {count.max()} of "
            f"{len(valid)}), and of those in which the pixel is lit.",
            Keys(data.config)("masks.test", "patches.size_px"),
        ),
    )


def training_part(data: ReportData) -> Part:
    """Loss curves, one row a system."""
    heading = "Training"
    keys = Keys(data.config)
    body = ""
    if data.curves.get("vae"):
        body += "<h3>VAE</h3>\n" + picture(
            draw_curves(
                [("VAE", data.curves["vae"])], [["loss", "reconstruction"], ["generator", "critic"], ["kl"]]
            ),
            "Loss curves of the VAE",
            "Losses of the VAE (dimensionless; the reconstruction sums over pixels in vae.height_unit) "
            "against training samples.",
            keys("vae.optimiser", "vae.height_unit", "vae.gan_start_samples", "vae.kl_weight"),
        )
    for system in data.config["systems"]:
        names = [SystemName(system, stage) for stage in BRIDGE_STAGES]
        names = [name for name in names if data.curves.get(str(name))]
        stages = [str(name) for name in names]
        if not stages:
            continue
        drawn = data.config[system].get("score") == "crps"
        measure = "bridge: fair CRPS of two draws" if drawn else "bridge: mean square"
        body += f"<h3>{system.capitalize()}</h3>\n" + picture(
            draw_curves([(stage, data.curves[stage]) for stage in stages]),
            f"Loss curves of the {len(stages)} training stages of {system}",
            f"Losses of {system} ({measure}, in units of the state; dimensionless) against the samples "
            "seen in each stage; each stage starts from the one before. Thin: as logged; thick: mean of "
            "10 lines.",
            keys(
                f"{system}.process",
                f"{system}.score",
                f"{system}.space",
                *(f"{system}.stages.{name.stage}.samples" for name in names),
            ),
        )
    return Part("training", heading, body or note("No training curves are at hand."))


def patches_part(data: ReportData) -> Part:
    """Test patches as rows, then one patch as every system makes it."""
    heading = "Test patches"
    if data.typical is None:
        return Part("patches", heading, note("No example patches were stored for the primary system."))
    keys = Keys(data.config)
    found = data.examples[data.primary]
    ids = [data.ranked[i] for i in chosen(len(data.ranked), data.report.patches)]
    rows = [found[i] for i in ids]
    ends = scale_ends(rows)
    condition = ("evaluation.conditions.main", "evaluation.members")
    cell = rows[0].pixel_m * rows[0].factor
    common = (
        f"Columns: a priori cells of {cell:g} m (shaded at that resolution), their bicubic (where the "
        f"system starts), mean of the clones, one clone, truth (hillshades, {LIGHT}, one grey scale a "
        "row); mean minus truth and standard deviation of the clones, metres. "
    )
    body = picture(
        draw_rows(rows, *ends),
        f"{len(rows)} test patches of {data.primary}: relief before and after, error and standard deviation",
        f"{data.primary}: {len(rows)} of {len(data.ranked)} stored test patches, evenly spread from the "
        f"smallest to the largest error. {common}Colour scales end at the 99th percentiles of the shown "
        "patches.",
        keys("report.patches", *condition),
    )
    names = data.ordered(data.examples)
    others = [s for s in names if s != data.primary and data.typical in data.examples[s]]
    if not others:
        return Part("patches", heading, body + note("No other system was trained to compare with."))
    compared = [
        replace(data.examples[s][data.typical], label=s.replace("_", "\n", 1))
        for s in (data.primary, *others)
    ]
    body += f"<h3>Patch {data.typical} by every system</h3>\n" + picture(
        draw_rows(compared, *_against_start(compared)),
        f"Test patch {data.typical} as each of {len(compared)} systems reconstructs it",
        f"Patch {data.typical} as each system makes it, {data.primary} first. {common}The error scale "
        "ends at the 99th percentile of the first row's bicubic error, so a map that saturates is worse "
        "than no learning at all; the standard deviation has the same end.",
        keys("systems", "primary", *condition),
    )
    return Part("patches", heading, body)


def _against_start(examples: Sequence[Any]) -> tuple[float, float]:
    """Colour scales set by the bicubic's error, which all systems should beat."""
    first = examples[0]
    start, _ = scale_ends([replace(first, mean=first.prior)])
    return start, start
