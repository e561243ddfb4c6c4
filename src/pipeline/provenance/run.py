"""A run: its config, and the files and packages found for it; declarations of stages are functions of it."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.arcs import ArcDraw
from pipeline.config.base import Section
from pipeline.config.bridge import BridgeSection, SamplerSection
from pipeline.config.names import PRETRAINED, SystemName
from pipeline.config.rivals import RivalSection
from pipeline.config.root import Config, ConfigError
from pipeline.predictors.registry import BASELINES, PREDICTORS, TRAINED, Entry
from pipeline.provenance.digest import value_key
from pipeline.provenance.found import Found
from pipeline.provenance.given import GivenWeights, InitWeights
from pipeline.provenance.inputs import InputFiles
from pipeline.provenance.site_files import SiteFiles


@dataclass(frozen=True)
class Run:
    """A validated config, with the files, weights and package versions found for it."""

    config: Config
    found: Found

    @property
    def given(self) -> GivenWeights | None:
        """Weights that are used without training, if any."""
        return self.found.given

    @property
    def files(self) -> InputFiles:
        """Raster files of the run."""
        return self.found.files

    @property
    def site(self) -> SiteFiles | None:
        """Files of the site of which a map is made, if this run makes one."""
        return self.found.site

    @property
    def systems(self) -> list[str]:
        """Names in the metrics of all stages of all trained systems, e.g. ``bridge_missing``."""
        stages = {system: self.config.system(system).stages.given for system in self.config.systems}
        return [str(SystemName(system, stage)) for system, given in stages.items() for stage in given]

    def previous(self, name: str) -> str | None:
        """Name of the stage whose weights a trained system's stage starts from; None for the first."""
        parsed = SystemName.of(name)
        before = self.system(name).stages.previous(parsed.stage)
        return None if before is None else str(SystemName(parsed.system, before))

    def last(self, name: str) -> bool:
        """Whether a name in the metrics is the last stage of a system's training."""
        return name in self.systems and self.system(name).stages.given[-1] == SystemName.of(name).stage

    def init(self, name: str) -> InitWeights | None:
        """Given weights that a trained system's first stage starts from; None for later stages."""
        return self.found.init.get(SystemName.of(name).system) if self.previous(name) is None else None

    @property
    def scored(self) -> list[str]:
        """Names in the metrics of all models: the trained stages, or the given weights."""
        return self.systems if self.given is None else [PRETRAINED]

    @property
    def calibrated(self) -> list[str]:
        """Names in the metrics of the trained systems that are calibrated."""
        return [name for name in self.systems if self.system(name).calibrate]

    @property
    def weights(self) -> dict[str, str]:
        """Digests of the given weights; empty if there are none."""
        return {} if self.given is None else self.given.identity

    def system(self, name: str) -> BridgeSection:
        """Config section of a trained system, by its name in the metrics."""
        return self.config.system(SystemName.of(name).system)

    def sampler(self, name: str) -> SamplerSection:
        """Sampler of a model, by its name in the metrics."""
        if name in self.config.predictors.bridges:
            return self.config.predictors.bridges[name].sampler
        return self.config.pretrained.sampler if name == PRETRAINED else self.system(name).sampler

    @property
    def predictors(self) -> dict[str, Entry]:
        """Entries of all predictors that are scored, by name in the metrics.

        Raises
        ------
        ConfigError
            If a variant or bridge has the name of a predictor, or a scored name is unknown.
        """
        section = self.config.predictors
        rivals = [n for n, e in PREDICTORS.items() if n not in (*BASELINES, TRAINED) and not e.floor]
        for key in ("variants", "bridges"):
            taken = [name for name in getattr(section, key) if name in PREDICTORS]
            if taken:
                raise ConfigError.unlike(f"predictors.{key}", "names of no predictor", repr(taken[0]))
        rivals += [*section.variants, *section.bridges]
        chosen, vae = section.scored, self.config.systems or self.given_files("vae")
        unknown = [name for name in chosen if name not in rivals]
        if unknown:
            some = f"some of {', '.join(rivals)}"
            raise ConfigError.unlike("predictors.scored", some, repr(unknown[0]))
        floors = [name for name, entry in PREDICTORS.items() if entry.floor and vae]
        kinds = {name: name for name in BASELINES}
        kinds |= {name: TRAINED if name in section.bridges else section.kind(name) for name in chosen}
        kinds |= {name: name for name in floors}
        kinds |= {floor: kind for floor, (kind, _) in self.rivals_floors.items()}
        kinds |= dict.fromkeys(self.scored, TRAINED)
        return {name: PREDICTORS[kind] for name, kind in kinds.items()}

    @property
    def rivals_floors(self) -> dict[str, tuple[str, str]]:
        """Names of the floors of given bridges' VAEs -> the kind of floor, and the bridge."""
        latent = [name for name, given in self.found.rivals.items() if given.vae is not None]
        floors = [name for name, entry in PREDICTORS.items() if entry.floor]
        return {f"{floor}_{name}": (floor, name) for name in latent for floor in floors}

    def options(self, name: str) -> Section | None:
        """Config section of a predictor; for given weights, with the training options stored with them."""
        if name in self.scored or name in self.config.predictors.bridges:
            return self.sampler(name)
        own = self.config.predictors.options(name)
        if not isinstance(own, RivalSection) or name not in self.found.rivals:
            return own
        trained, whole = own.trained().model_dump(mode="json"), own.model_dump(mode="json")
        drawn = {key: value for key, value in whole.items() if value != trained[key]}
        return type(own).model_validate({**self.found.rivals[name].facts["section"], **drawn})

    @property
    def learned(self) -> list[str]:
        """Names of the rivals that are trained; a variant that differs only in its sampler shares weights."""
        rivals = (name for name, entry in self.predictors.items() if entry.train)
        return [name for name in rivals if self.weights_of(name) == name and name not in self.found.rivals]

    def given_to(self, name: str) -> GivenWeights | None:
        """The given weights that a predictor reads, its own or the run's, if any."""
        return self.found.rivals.get(self.rivals_floors.get(name, ("", name))[1], self.given)

    def vae_of(self, name: str) -> str:
        """Name of a predictor's VAE in metrics.json; ``vae`` is the run's own."""
        rival = self.rivals_floors.get(name, ("", name))[1]
        return f"vae_{rival}" if rival in self.found.rivals else "vae"

    def given_files(self, role: str, name: str = "") -> list[str]:
        """Given files of role ``model``, ``vae`` or ``calibration``, of the run or a rival; may be empty."""
        given = self.given_to(name)
        return [] if given is None else given.files[role]

    def weights_of(self, name: str) -> str:
        """Name of the predictor whose weights this one reads: itself, the primary system, or, for variants
        of the same training, the first of them.
        """
        entries = self.predictors
        entry, own = entries[name], self._trained(name)
        if entry.primary or own is None:
            return self.config.primary if entry.primary else name
        alike = (each for each, other in entries.items() if other.train == entry.train)
        return next(each for each in alike if self._trained(each) == own)

    def _trained(self, name: str) -> RivalSection | None:
        """Options that a learned rival's weights depend on, besides its kind; None for all others."""
        options = self.config.predictors.options(name)
        return options.trained() if isinstance(options, RivalSection) else None

    def weights_stages(self, name: str) -> dict[str, str]:
        """The stages that make a predictor's weights, by role; empty for given weights."""
        name = self.weights_of(name)
        roles = self.predictors[name].files if self.given_to(name) is None else ()
        stages = {"model": name, "vae": "vae", "calibration": f"calibration_{name}"}
        if name in self.systems:
            section = self.system(name)
            used = {"model": True, "vae": section.space == "latent", "calibration": section.calibrate}
            roles = tuple(role for role in roles if used[role])
        return {role: stages[role] for role in roles}

    @property
    def main_draw(self) -> ArcDraw:
        """The light of the main evaluation condition."""
        draws = self.config.arcs.test
        return draws.get(self.config.evaluation.conditions["main"].draw, next(iter(draws.values())))

    @property
    def key(self) -> str:
        """Key of the whole config, for stages whose output shows it."""
        return value_key(self.config.model_dump(mode="json", exclude={"runtime"}))
