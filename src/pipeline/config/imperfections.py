"""Section ``imperfections``: how real images differ from rendered ones."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Positive, PositiveInt, Range, Section, Share


class AlbedoField(Section):
    """Smooth variation of the albedo over a patch, the same in all images of its set."""

    rms: Share = 0.0
    """relative standard deviation of the albedo (0: none; a realistic value: 0.1)."""
    sigma_px: Annotated[float, Field(gt=0, le=64)] = 6.0
    """sigma of the Gaussian that filters white noise, pixels; the field's autocorrelation at distance d is
    exp(-d^2 / (4 sigma^2))."""


class AlbedoBlocks(Section):
    """Sharp-edged variation of the albedo: square cells on a grid with a random origin."""

    rms: Share = 0.0
    """relative standard deviation between cells (0: none)."""
    cell_px: PositiveInt = 16
    """side of a cell, pixels."""


class AlbedoSpots(Section):
    """Small fresh craters: round spots that are brightest at their centre."""

    count: Annotated[float, Field(ge=0, le=100)] = 0.0
    """mean number per 1,000 pixels (0: none); each patch draws its own, by Poisson's law."""
    excess: Range = Range(low=0.1, high=1.0)
    """range of the relative excess albedo of the centre over the surroundings; log-uniform."""
    radius_px: Range = Range(low=0.7, high=2.5)
    """range of the sigma of the Gaussian profile, pixels; log-uniform."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.excess.check_within("excess", 1e-3, 10.0)
        self.radius_px.check_within("radius_px", 0.1, 64.0)
        return self


class NoiseSection(Section):
    """Noise of the camera, drawn independently for each pixel of each image."""

    snr: Positive | None = None
    """ratio of the set's median lit radiance to the standard deviation of the read noise, which is the
    same at all pixels; null for no read noise (a realistic value: 50)."""
    photons: Positive | None = None
    """photons at the median lit radiance: the variance of the shot noise is proportional to the signal;
    null for no shot noise."""


class DarkSection(Section):
    """What is left of an image's dark level, haze or scattered light after an estimate is subtracted."""

    offset: Share = 0.0
    """standard deviation of a constant per image, over the set's median lit radiance (0: none)."""
    ramp: Share = 0.0
    """the same for its change from one side of the image to the other, in any direction."""
    pairs: bool = False
    """whether an image has the error of the one before it where both have the same Sun: left and right
    frames of one id."""


class ImperfectionsSection(Section):
    """How real images differ from rendered ones; everything is off by default.

    In this order: light, albedo, visibility, shift, exposure, dark level, noise, saturation, clipping,
    quantisation, missing data. Everything is drawn when a sample is read; what one key draws does not depend
    on the others.
    """

    share: Share = 1.0
    """share of the image sets that have imperfections; the others are as rendered."""
    strength: Range = Range(low=1.0, high=1.0)
    """range of a factor on a set's albedo variation, exposure, shift, noise, dark level and error of the
    Sun, drawn once for each set, log-uniform: some sites are more uniform and better known than others."""
    albedo: AlbedoField = AlbedoField()
    albedo_blocks: AlbedoBlocks = AlbedoBlocks()
    albedo_spots: AlbedoSpots = AlbedoSpots()
    exposure: Share = 0.0
    """standard deviation of an image's gain, about 1 (0: none; a realistic value: 0.05)."""
    shift_px: Annotated[float, Field(ge=0, le=8)] = 0.0
    """standard deviation of an image's misregistration along each axis, pixels (0: none; a realistic
    value: 0.3). The content moves; the strip of kept data does not."""
    noise: NoiseSection = NoiseSection()
    dark: DarkSection = DarkSection()
    sun_deg: Annotated[float, Field(ge=0, le=45)] = 0.0
    """standard deviation of each component of the error of the Sun vector that the network gets, degrees;
    the images have the true one (0: none; a realistic value: 0.1)."""
    wrong: Share = 0.0
    """share of the images whose Sun vector has a random azimuth: images of another time or place."""
    saturation: Annotated[float, Field(gt=1)] | None = None
    """largest recorded radiance, over the set's median lit one; null for no limit."""
    clip: Share = 0.0
    """share of the image sets in which negative values are 0, as in products that hold none."""
    quantise_bits: Literal[8, 12] | None = None
    """8 or 12 bits of the recorded radiance, whose highest level is the set's largest radiance; null for no
    quantisation."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self.strength.check_within("strength", 0.01, 10.0)
        return self

    def times(self, factor: float) -> Self:
        """Copy in which every amplitude that `strength` scales is multiplied by `factor`; `strength` is 1.

        Of noise, the standard deviation is multiplied; of spots, their number.
        """
        noise, albedo = self.noise, self.albedo_spots
        return self.model_copy(
            update={
                "strength": Range(low=1.0, high=1.0),
                "albedo": self.albedo.model_copy(update={"rms": self.albedo.rms * factor}),
                "albedo_blocks": self.albedo_blocks.model_copy(
                    update={"rms": self.albedo_blocks.rms * factor}
                ),
                "albedo_spots": albedo.model_copy(update={"count": albedo.count * factor}),
                "exposure": self.exposure * factor,
                "shift_px": self.shift_px * factor,
                "noise": noise.model_copy(
                    update={
                        "snr": noise.snr and noise.snr / factor,
                        "photons": noise.photons and noise.photons / factor**2,
                    }
                ),
                "dark": self.dark.model_copy(
                    update={"offset": self.dark.offset * factor, "ramp": self.dark.ramp * factor}
                ),
                "sun_deg": self.sun_deg * factor,
            }
        )

    @property
    def off(self) -> bool:
        """Whether all images are as rendered."""
        noise = (self.noise.snr, self.noise.photons, self.quantise_bits)
        camera = (self.exposure, self.shift_px, self.sun_deg, self.wrong, self.clip, self.saturation)
        dark = (self.dark.offset, self.dark.ramp)
        albedo = (self.albedo.rms, self.albedo_blocks.rms, self.albedo_spots.count)
        return not (self.share and any((*albedo, *camera, *dark, *noise)))


class ImperfectionsSections(Section):
    """Imperfections of the images: albedo variation, camera, errors of the Sun vector; all off by default.

    `train` holds in all bridge stages, `test` in the evaluation conditions with
    ``imperfections: true``. In this order: light, albedo, visibility, shift, exposure, dark level, noise,
    saturation, clipping, quantisation, missing data. Regions and the VAE have perfect images.
    """

    train: ImperfectionsSection = ImperfectionsSection()
    test: ImperfectionsSection = ImperfectionsSection()
