"""The whole configuration: all sections, the checks between them, and errors people can act on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from pipeline.config.altimetry import AltimetrySection, TrainingPatchesSection
from pipeline.config.arcs import ArcsSection
from pipeline.config.base import Section, unlike
from pipeline.config.bridge import BridgeSection, evaluations_wanted
from pipeline.config.bundle import BundleSection
from pipeline.config.coverage import CoverageSection
from pipeline.config.ephemeris import EphemerisSection
from pipeline.config.evaluation import EvaluationSection
from pipeline.config.illumination import IlluminationSection
from pipeline.config.images import ImagesSection
from pipeline.config.imperfections import ImperfectionsSections
from pipeline.config.inputs import InputsSection
from pipeline.config.maps import MapSection
from pipeline.config.masks import MasksSection
from pipeline.config.names import BRIDGE_STAGES, PRETRAINED, SCENE_STAGES, SystemName
from pipeline.config.near import nearest_key
from pipeline.config.photometry import PhotometrySection
from pipeline.config.possible import impossible
from pipeline.config.predictors import PredictorsSection
from pipeline.config.pretrained import PretrainedSection
from pipeline.config.region import RegionSection
from pipeline.config.report import ReportSection
from pipeline.config.runtime import RuntimeSection
from pipeline.config.scenes import ScenesSection
from pipeline.config.shards import ShardsSection
from pipeline.config.site import SiteSection
from pipeline.config.split import SplitSection
from pipeline.config.synthetic import SyntheticSection
from pipeline.config.training import TrainingSection
from pipeline.config.vae import VaeSection


class ConfigError(ValueError):
    """A configuration that cannot be run; the message has one line for each mistake."""

    @classmethod
    def unlike(cls, key: str, expected: str, found: object) -> ConfigError:
        """The value of a key is not what is expected."""
        return cls(f"config: {unlike(key, expected, found)}")


_PRIMARY = rf"^([a-z][a-z0-9]*_({'|'.join(BRIDGE_STAGES)})|{PRETRAINED})$"
Variants = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")], dict[str, Any]]


class Config(Section):
    """All sections."""

    run: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = "paper"
    """label of ``results/<run>/``."""
    systems: list[str] = Field(default=["published"])
    """which systems are trained: ``published``, ``bridge``, or names of `variants`; none with given
    weights."""
    primary: Annotated[str, Field(pattern=_PRIMARY)] = "published_missing"
    """``<system>_<stage>`` that this config ships, or ``pretrained``; it reconstructs the region."""
    inputs: InputsSection = InputsSection()
    synthetic: SyntheticSection = SyntheticSection()
    patches: TrainingPatchesSection = TrainingPatchesSection()
    altimetry: AltimetrySection = AltimetrySection()
    coverage: CoverageSection = CoverageSection()
    split: SplitSection = SplitSection()
    illumination: IlluminationSection = IlluminationSection()
    arcs: ArcsSection = ArcsSection()
    ephemeris: EphemerisSection = EphemerisSection()
    masks: MasksSection = MasksSection()
    photometry: PhotometrySection = PhotometrySection()
    scenes: ScenesSection | None = None
    """image sets that are rendered for training; null for none."""
    imperfections: ImperfectionsSections = ImperfectionsSections()
    shards: ShardsSection = ShardsSection()
    training: TrainingSection = TrainingSection()
    vae: VaeSection = VaeSection()
    published: BridgeSection = BridgeSection()
    bridge: BridgeSection = BridgeSection()
    variants: Variants = Field(default={})
    """further systems: for each name (a letter, then letters and digits), the keys in which it differs from
    the section ``bridge``."""
    pretrained: PretrainedSection = PretrainedSection()
    predictors: PredictorsSection = PredictorsSection()
    evaluation: EvaluationSection = EvaluationSection()
    region: RegionSection = RegionSection()
    site: SiteSection = SiteSection()
    images: ImagesSection = ImagesSection()
    map: MapSection = MapSection()
    report: ReportSection = ReportSection()
    bundle: BundleSection = BundleSection()
    runtime: RuntimeSection = RuntimeSection()

    @model_validator(mode="before")
    @classmethod
    def _names_terrain(cls, raw: Any) -> Any:
        """A config for any site leaves its DEM to the user; a map of a site needs no other terrain."""
        inputs, site = (raw.get(key) if isinstance(raw, Mapping) else None for key in ("inputs", "site"))
        if isinstance(inputs, Mapping) and "dem" in inputs and inputs["dem"] is None:
            if isinstance(site, Mapping) and site.get("dem") is not None:
                return {**raw, "inputs": {**inputs, "dem": "synthetic", "count": None}}
            if isinstance(site, Mapping) and "dem" in site:
                raise ValueError(
                    "site.dem: expected the path of a DEM, found null; set it in the config file or on the "
                    """command line: --config site='{"dem": "my/ldem.tif", "images": "my/nac/*.tif"}'"""
                )
            raise ValueError(
                "inputs.dem: expected a path, glob or URL of DEM windows, found null; set it in the config "
                """file or on the command line: --config inputs='{"dem": "my/*.tif"}'"""
            )
        return raw

    @model_validator(mode="after")
    def _between_sections(self) -> Config:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def system(self, name: str) -> BridgeSection:
        """The section of a system: its own, or that of ``bridge`` with a variant's keys.

        Raises
        ------
        ConfigError
            If there is no system of that name, or the variant makes an impossible section.
        """
        own = {"published": self.published, "bridge": self.bridge}
        if name in own:
            return own[name]
        if name not in self.variants:
            known = [*own, *self.variants]
            raise ConfigError(unlike("systems", f"some of {', '.join(known)}", repr(name)))
        merged = _merged(self.bridge.model_dump(mode="json"), self.variants[name])
        try:
            return BridgeSection.model_validate(merged)
        except ValidationError as error:
            first = _explain(error.errors()[0], BridgeSection)
            raise ConfigError(f"variants.{name}.{first.removeprefix('(top level): ')}") from None

    @property
    def tests_scenes(self) -> bool:
        """Whether a condition of the evaluation has rendered scenes."""
        return any(condition.light == "scenes" for condition in self.evaluation.conditions.values())

    def by_ephemeris(self) -> list[str]:
        """Keys of all draws whose Suns come from SPICE kernels."""
        tests = {f"arcs.test.{name}": draw for name, draw in self.arcs.test.items()}
        draws = {"arcs.train": self.arcs.train, **tests, "region.light": self.region.light}
        return [key for key, draw in draws.items() if draw.place == "ephemeris"]

    def _weights_problems(self) -> list[str]:
        """What is trained or given, and what is done with it, must fit."""
        out: list[str] = []
        given = self.pretrained.weights is not None
        if given and self.systems:
            out.append(unlike("systems", "[] with pretrained.weights (nothing is trained)", self.systems))
        if not given and not self.systems:
            out.append(unlike("systems", "published or bridge, or pretrained.weights", "neither"))
        if given and self.primary != PRETRAINED:
            out.append(unlike("primary", f"{PRETRAINED!r} with pretrained.weights", repr(self.primary)))
        primary = SystemName.parse(self.primary)
        if not given and self.systems and (primary is None or primary.system not in self.systems):
            out.append(unlike("primary", f"one of the systems {self.systems}", repr(self.primary)))
        if self.predictors.trains and not self.systems:
            wanted = "no learned rivals without weights where systems is []"
            out.append(unlike("predictors.scored", wanted, self.predictors.trains))
        if self.split.method == "test" and self.systems:
            trains = f"'block', 'site', 'random' or 'index', since the systems {self.systems} are trained"
            out.append(unlike("split.method", trains, "'test' (every patch tests given weights)"))
        return out

    def _systems(self) -> tuple[dict[str, BridgeSection], list[str]]:
        """Sections of the trained systems and of all variants, and what is wrong with them."""
        out: dict[str, BridgeSection] = {}
        problems = [
            f"variants.{name}: expected another name than that of a section, found it"
            for name in ("published", "bridge", PRETRAINED)
            if name in self.variants
        ]
        for name in dict.fromkeys([*self.systems, *self.variants]):
            try:
                out[name] = self.system(name)
            except ConfigError as error:
                problems.append(str(error))
        return {name: out[name] for name in self.systems if name in out}, problems

    def _problems(self) -> list[str]:
        sections, out = self._systems()
        patches = self.patches
        whole = f"a multiple of patches.factor = {patches.factor}"
        if len(set(self.systems)) != len(self.systems):
            out.append(unlike("systems", "each once", self.systems))
        out += self._weights_problems()
        if self.illumination.halo_px > patches.halo_px:
            most = f"at most patches.halo_px = {patches.halo_px}"
            out.append(unlike("illumination.halo_px", most, self.illumination.halo_px))
        if self.inputs.far_entries and not self.illumination.far_m:
            out.append(unlike("illumination.far_m", "more than 0, since inputs.far is given", 0))
        down = 2 ** (len(self.vae.multipliers) - 1)
        if self.systems and patches.size_px % down:
            out.append(f"patches.size_px: expected a multiple of the VAE's reduction {down}")
        for name, section in sections.items():
            if section.lr_halo_px > patches.halo_px or section.lr_halo_px % patches.factor:
                wanted = f"{whole} up to patches.halo_px = {patches.halo_px}"
                out.append(unlike(f"{name}.lr_halo_px", wanted, section.lr_halo_px))
            if section.space == "latent" and section.target != self.vae.target:
                wanted = f"the VAE's target {self.vae.target!r} in the latent space"
                out.append(unlike(f"{name}.target", wanted, repr(section.target)))
            out += self._stages_problems(name, section)
        if self.coverage.min_share > 0 and not self.inputs.synthetic and self.inputs.count is None:
            wanted = f"a count map, since coverage.min_share = {self.coverage.min_share:g} > 0"
            found = "null (set coverage.min_share: 0 to keep every patch)"
            out.append(unlike("inputs.count", wanted, found))
        by_kernels = self.by_ephemeris()
        if by_kernels and not self.ephemeris.kernels:
            wanted = f"SPICE kernels for {by_kernels[0]}.place: ephemeris"
            out.append(unlike("ephemeris.kernels", wanted, "none"))
        for label, condition in self.evaluation.conditions.items():
            key = f"evaluation.conditions.{label}"
            if condition.light == "arcs" and condition.draw not in self.arcs.test:
                out.append(unlike(f"{key}.draw", f"one of {sorted(self.arcs.test)}", repr(condition.draw)))
            if condition.light == "scenes" and self.scenes is None:
                out.append(unlike("scenes", f"a section, for {key}.light: scenes", "null"))
            if condition.imperfections and self.imperfections.test.off:
                off = "false, since everything in imperfections.test is off"
                out.append(unlike(f"{key}.imperfections", off, "true"))
            primary = SystemName.parse(self.primary)
            for name, section in sections.items():
                elsewhere = condition.systems == "primary" and (primary is None or name != primary.system)
                if condition.nfe is None or elsewhere or condition.systems == "rivals":
                    continue
                kind, process, steps = section.sampler.kind, section.process, section.steps
                if fitting := evaluations_wanted(condition.nfe, kind, process, steps):
                    out.append(f"{key}.nfe: {fitting} of {name}, found {condition.nfe}")
        out += impossible(self, sections)
        out += self._map_problems() if self.site.dem is not None else self._region_problems()
        return out

    def _stages_problems(self, name: str, section: BridgeSection) -> Iterator[str]:
        """What is wrong with the stages of a system's training."""
        given, primary = section.stages.given, SystemName.parse(self.primary)
        if primary is not None and primary.system == name and primary.stage not in given:
            wanted = "one of the stages that are trained, " + ", ".join(f"{name}_{stage}" for stage in given)
            yield unlike("primary", wanted, repr(self.primary))
        if self.scenes is None:
            for stage in (stage for stage in SCENE_STAGES if stage in given):
                yield unlike(f"{name}.stages.{stage}", "section scenes", "none")

    def _region_problems(self) -> list[str]:
        """What keeps a region from being reconstructed."""
        out, patches = [], self.patches
        whole = f"a multiple of patches.factor = {patches.factor}"
        if self.region.stride_px > patches.size_px or self.region.stride_px % patches.factor:
            wanted = f"{whole} up to patches.size_px = {patches.size_px}"
            out.append(unlike("region.stride_px", wanted, self.region.stride_px))
        if self.region.size_px < patches.size_px or self.region.size_px % patches.factor:
            wanted = f"{whole}, at least patches.size_px = {patches.size_px}"
            out.append(unlike("region.size_px", wanted, self.region.size_px))
        return out

    def _map_problems(self) -> list[str]:
        """What keeps a site's map from being made."""
        out, patches, step = [], self.patches, self.map.stride_px
        if step > patches.size_px or step % patches.factor:
            wanted = (
                f"a multiple of patches.factor = {patches.factor} up to patches.size_px = {patches.size_px}"
            )
            out.append(unlike("map.stride_px", wanted, step))
        if self.pretrained.weights is None:
            wanted = "weights, since site.dem is given: a map is made with given weights"
            out.append(unlike("pretrained.weights", wanted, "null"))
        return out


def load_config(raw: Mapping[str, Any]) -> Config:
    """Validate a configuration read from YAML.

    Raises
    ------
    ConfigError
        One line for each mistake: the key's path, what was expected, what was found.
    """
    given = _with_nulls(dict(raw))
    try:
        if problems := list(_texts(given)):
            raise ConfigError("config: " + "\n        ".join(problems))
        return Config.model_validate(given)
    except ValidationError as error:
        raise ConfigError("config: " + "\n        ".join(_explain(item) for item in error.errors())) from None


def _texts(given: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with sections that are text: ``--config`` hands a section on so where it is no JSON."""
    for name, field in Config.model_fields.items():
        value = given.get(name)
        if isinstance(value, str) and isinstance(field.default, Section):
            example = '{"dem": "my/ldem.tif"}' if "dem" in type(field.default).model_fields else '{"key": 1}'
            found = f"the text {value!r} (a comma or a quote missing?)"
            yield unlike(name, f"a section like '{example}'", found)


def _with_nulls(value: Any) -> Any:
    """Values of ``--config``, where Snakemake hands a null inside of JSON on as text."""
    if isinstance(value, Mapping):
        return {key: _with_nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    return None if value == "null" else value


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the given keys instead of its own, at any depth."""
    out = dict(base)
    for key, value in changes.items():
        inner = out.get(key)
        out[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return out


def _explain(item: Any, section: type[Section] = Config) -> str:
    """One line for one pydantic error of a section."""
    path = ".".join(str(part) for part in item["loc"]) or "(top level)"
    if item["type"] == "extra_forbidden":
        near = nearest_key(section, item["loc"])
        meant = "" if near is None else f" (did you mean `{near}`?)"
        return f"{path}: unknown key; see config/README.md for the keys there are{meant}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return message if path == "(top level)" else f"{path}: {message}"
    return f"{path}: {message}, found {item['input']!r}"
