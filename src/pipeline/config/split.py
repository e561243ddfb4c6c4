"""Section ``split``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import PositiveInt, Section, Seed, unlike


class SplitIndex(Section):
    """Index files: ids of the patches of each split, as ``.npy`` of whole numbers or one per line of text."""

    train: str
    """path of the file that names the training patches, identified by content, not by path."""
    validation: str
    """path of the file that names the validation patches, identified by content, not by path."""
    test: str
    """path of the file that names the test patches, identified by content, not by path."""


class SplitSection(Section):
    """Train / validation / test split."""

    method: Literal["block", "site", "random", "index", "test"] = "block"
    """``block`` (spatial blocks), ``site`` (connected pieces of terrain), ``random`` (published),
    ``index`` (files that name the patches, as the published ones), or ``test``: every kept patch is a
    test patch of given weights (section `pretrained`), and nothing can be trained."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share of the kept patches for validation."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share of the kept patches for testing."""
    block_px: PositiveInt = 960
    """side of a spatial block, pixels."""
    gap_px: Annotated[int, Field(ge=0)] = 0
    """training patches this close to a validation or test patch are dropped."""
    validation_sites: list[str] = Field(default_factory=list)
    """name patterns of input files; with ``site``, pieces with a matching file are for validation, and the
    shares are ignored."""
    test_sites: list[str] = Field(default_factory=list)
    """name patterns of input files; with ``site``, pieces with a matching file are for testing, and the
    shares are ignored."""
    index: SplitIndex | None = None
    """with method ``index``, its files (keys `train`, `validation`, `test`: ids, as ``.npy`` of whole
    numbers or one per line of text); kept patches that none of them names are dropped."""
    seed: Seed = 0
    """seed of the random choice of patches, blocks or sites."""

    @property
    def index_files(self) -> list[str]:
        """Paths of the index files, in the order train, validation, test; none with another method."""
        return [] if self.index is None else [self.index.train, self.index.validation, self.index.test]

    @model_validator(mode="after")
    def _leaves_training(self) -> SplitSection:
        if self.validation + self.test >= 1:
            raise ValueError(unlike("validation + test", "less than 1", f"{self.validation + self.test:g}"))
        if bool(self.test_sites) != bool(self.validation_sites):
            raise ValueError("validation_sites and test_sites: expected both or neither")
        if self.test_sites and self.method != "site":
            raise ValueError(f"test_sites: expected method 'site', found {self.method!r}")
        if (self.method == "index") != (self.index is not None):
            wanted = "index files with method 'index', and only with it"
            raise ValueError(unlike("index", wanted, f"method {self.method!r}"))
        return self
