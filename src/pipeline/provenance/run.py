"""What stages are declared on: the config, and what was found of files and packages."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config.arcs import ArcDraw
from pipeline.config.bridge import BridgeSection, SamplerSection
from pipeline.config.names import BRIDGE_STAGES, PRETRAINED, SystemName
from pipeline.config.root import Config, ConfigError
from pipeline.predictors.registry import BASELINES, PREDICTORS, TRAINED, Entry
from pipeline.provenance.digest import value_key
from pipeline.provenance.found import Found


@dataclass(frozen=True)
class Run:
    """A validated config, and what was found for it."""

    config: Config
    found: Found

    @property
    def trained(self) -> list[SystemName]:
        """Every stage of every trained system."""
        return [SystemName(system, stage) for system in self.config.systems for stage in BRIDGE_STAGES]

    @property
    def scored(self) -> list[str]:
        """Names in the metrics of all models: the trained stages, or the given weights."""
        return [PRETRAINED] if self.found.given is not None else [str(name) for name in self.trained]

    @property
    def calibrated(self) -> list[str]:
        """Names of the trained stages whose clones are calibrated."""
        return [str(name) for name in self.trained if self.config.system(name.system).calibrate]

    @property
    def weights(self) -> dict[str, str]:
        """What identifies given weights; empty where there are none."""
        return {} if self.found.given is None else self.found.given.identity

    def system(self, name: str) -> BridgeSection | None:
        """Config section of a name in the metrics; None for given weights."""
        parsed = SystemName.parse(name)
        return None if parsed is None else self.config.system(parsed.system)

    def sampler(self, name: str) -> SamplerSection:
        """How clones of a name in the metrics are drawn."""
        section = self.system(name)
        return self.config.pretrained.sampler if section is None else section.sampler

    def model_stages(self, name: str) -> tuple[str, ...]:
        """The stages that make the weights of a name in the metrics; none makes given ones."""
        section = self.system(name)
        if section is None:
            return ()
        vae = ("vae",) if section.space == "latent" else ()
        return (name, *vae, *((f"calibration_{name}",) if section.calibrate else ()))

    @property
    def predictors(self) -> dict[str, Entry]:
        """Entries of all predictors that are scored, by name in the metrics."""
        rivals = [n for n, e in PREDICTORS.items() if n not in (*BASELINES, TRAINED) and not e.floor]
        chosen, vae = self.config.predictors.scored, self.config.systems or self.given("vae")
        unknown = [name for name in chosen if name not in rivals]
        if unknown:
            raise ConfigError(
                f"config: predictors.scored: expected some of {', '.join(rivals)}, found {unknown[0]!r}"
            )
        floors = [name for name, entry in PREDICTORS.items() if entry.floor and vae]
        names = {name: PREDICTORS[name] for name in (*BASELINES, *chosen, *floors)}
        return names | dict.fromkeys(self.scored, PREDICTORS[TRAINED])

    @property
    def learned(self) -> list[str]:
        """Names of the rivals that are trained."""
        return [name for name, entry in self.predictors.items() if entry.train]

    def given(self, role: str) -> list[str]:
        """Files of the given weights' ``model``, ``vae`` or ``calibration``; empty where none are given."""
        return [] if self.found.given is None else self.found.given.files[role]

    def weights_stages(self, name: str) -> tuple[str, ...]:
        """The stages that make a predictor's weights; none makes given ones."""
        if name in self.scored:
            return self.model_stages(name)
        files = self.predictors[name].files if self.found.given is None else ()
        return tuple(name if role == "model" else role for role in files)

    @property
    def main_draw(self) -> ArcDraw:
        """The light of the main evaluation condition."""
        draws = self.config.arcs.test
        return draws.get(self.config.evaluation.conditions["main"].draw, next(iter(draws.values())))

    @property
    def key(self) -> str:
        """Key of the whole config, for the stages that show it."""
        return value_key(self.config.model_dump(mode="json", exclude={"runtime"}))
