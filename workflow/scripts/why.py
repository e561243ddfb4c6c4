"""Adapter of rule `why`."""

from pathlib import Path

from pipeline.provenance.why import tell

print(tell(snakemake.params.record, Path.cwd()))
