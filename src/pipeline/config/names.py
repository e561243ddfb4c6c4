"""Names of evaluated systems: a system and the stage of its training, or given weights."""

from __future__ import annotations

from typing import NamedTuple

#: Stages that train on rendered scenes.
SCENE_STAGES = ("real", "real_2", "real_3")
#: All stages that a bridge's training may have, in their order; a config gives some of them.
BRIDGE_STAGES = ("fibonacci", "arcs", "missing", *SCENE_STAGES)
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
        system, _, stage = text.partition("_")
        return cls(system, stage) if system and stage in BRIDGE_STAGES else None

    @classmethod
    def of(cls, text: str) -> SystemName:
        """Read the name of a trained system's stage; raises ValueError for any other."""
        name = cls.parse(text)
        if name is None:
            raise ValueError(f"expected <system>_<stage> with a stage of {BRIDGE_STAGES}, found {text!r}")
        return name
