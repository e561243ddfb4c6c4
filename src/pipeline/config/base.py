"""What every config section shares: strictness, canonical JSON, and errors that name the key."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A frozen config section that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    def canonical(self) -> str:
        """Canonical JSON of the section: sorted keys, no spaces; equal sections give equal text."""
        return canonical_json(self.model_dump(mode="json"))


def canonical_json(value: Any) -> str:
    """JSON text that depends on the value only (sorted keys, minimal separators, no NaN)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def unlike(key: str, expected: str, found: object) -> str:
    """The message for a value that is not as expected, in the form common to all such messages."""
    return f"{key}: expected {expected}, found {found}"


#: Names and the dotted paths of their modules, which are imported when they are used. A stage's code digest
#: leaves a registry's entries out, and holds the modules that the stage uses.
Registry = dict[str, str]


class Range(Section):
    """A closed interval ``[low, high]`` from which a number is drawn uniformly."""

    low: float
    high: float

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, value: Any) -> Any:
        """Accept the two-number list that people write in YAML, or one number for a fixed value."""
        if isinstance(value, (list, tuple)):
            if len(value) != 2:
                raise ValueError(f"expected [low, high], found {value!r}")
            return {"low": value[0], "high": value[1]}
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return {"low": value, "high": value}
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"expected low <= high, found [{self.low}, {self.high}]")
        return self

    def check_within(self, key: str, low: float, high: float) -> None:
        """Refuse a range that is not within ``[low, high]``; the message begins with the key."""
        if not (low <= self.low and self.high <= high):
            raise ValueError(unlike(key, f"within [{low:g}, {high:g}]", self))

    def check_positive(self, key: str) -> None:
        """Refuse a range that holds 0 or less; the message begins with the key."""
        if self.low <= 0:
            raise ValueError(unlike(key, "> 0", self.low))


Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
