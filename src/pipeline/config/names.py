"""Names of what is evaluated: a system and the stage of its training, or given weights."""

from __future__ import annotations

from typing import NamedTuple

#: Stages of a bridge's training, in their order; each starts from the last one's weights.
BRIDGE_STAGES = ("fibonacci", "arcs", "missing")
#: Name of given weights among the systems of the metrics, and of `primary` with them.
PRETRAINED = "pretrained"


class SystemName(NamedTuple):
    """A system and the stage of its training; as text ``<system>_<stage>``, e.g. ``bridge_missing``."""

    system: str
    stage: str

    def __str__(self) -> str:
        return f"{self.system}_{self.stage}"

    @classmethod
    def parse(cls, text: str) -> SystemName | None:
        """Read a name; None for a name of something that is not trained in stages."""
        system, _, stage = text.rpartition("_")
        return cls(system, stage) if system and stage in BRIDGE_STAGES else None

    @classmethod
    def of(cls, text: str) -> SystemName:
        """Read the name of a trained system's stage; raises ValueError for any other."""
        name = cls.parse(text)
        if name is None:
            raise ValueError(f"expected <system>_<stage> with a stage of {BRIDGE_STAGES}, found {text!r}")
        return name

    @property
    def previous(self) -> SystemName | None:
        """The stage whose weights this one starts from; None for the first."""
        before = BRIDGE_STAGES.index(self.stage) - 1
        return None if before < 0 else SystemName(self.system, BRIDGE_STAGES[before])

    @property
    def last(self) -> bool:
        """Whether this is the last stage of the system's training."""
        return self.stage == BRIDGE_STAGES[-1]
