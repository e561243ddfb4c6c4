"""Section ``split``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.base import PositiveInt, Section, Seed, unlike


class SplitIndex(Section):
    """Index files: ids of the patches of each split, as ``.npy`` of whole numbers or one per line of text.

    Attributes
    ----------
    train, validation, test : paths of the files. Their bytes count, not their place.
    """

    train: str
    validation: str
    test: str


class SplitSection(Section):
    """Train / validation / test split.

    Attributes
    ----------
    method : ``block`` (spatial blocks), ``site`` (connected pieces of terrain), ``random`` (published),
        ``index`` (files that name the patches, as the published ones), or ``test``: every kept patch tests
        given weights (section `pretrained`), and nothing can be trained.
    validation, test : shares of the kept patches.
    block_px : side of a spatial block, pixels.
    gap_px : training patches this close to a validation or test patch are dropped.
    validation_sites, test_sites : name patterns of input files; with ``site``, pieces that hold a
        matching file are put there and the shares are ignored.
    index : with method ``index``, its files (keys `train`, `validation`, `test`: ids, as ``.npy`` of whole
        numbers or one per line of text); kept patches that none of them names are dropped.
    """

    method: Literal["block", "site", "random", "index", "test"] = "block"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    block_px: PositiveInt = 960
    gap_px: Annotated[int, Field(ge=0)] = 0
    validation_sites: list[str] = Field(default_factory=list)
    test_sites: list[str] = Field(default_factory=list)
    index: SplitIndex | None = None
    seed: Seed = 0

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
