"""Adapter of rule `shards_write_test`."""

from pipeline.provenance.record import job, stage_record
from pipeline.shards.write import write_shard

p = snakemake.params
with job(snakemake.log[0], p.level, **stage_record(p)):
    i, images = snakemake.input, None
    if p.photometry is not None:
        from pipeline.config.photometry import PhotometrySection
        from pipeline.shards.radiance import RadianceWriter

        images = RadianceWriter(PhotometrySection.model_validate_json(p.photometry))
    out = snakemake.output.test
    write_shard("test", i.patches, i.visibility, i.split, p.factor, out, i.arcs, i.masks, images)
