# Lunar super-resolution with Schrödinger bridges: from DEM files to an evaluated model, a mosaic and a report.
# Every stage is a rule; `snakemake <stage>` asks for one by name. See README.md and config/README.md.
from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/record.smk"


if PLAN.site is not None:

    include: "workflow/rules/map.smk"

else:

    include: "workflow/rules/inputs.smk"
    include: "workflow/rules/patches.smk"
    include: "workflow/rules/illumination.smk"
    include: "workflow/rules/shards.smk"
    include: "workflow/rules/train.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/region.smk"
    include: "workflow/rules/report.smk"


PRODUCTS = (
    ["map"] if PLAN.site is not None else ["evaluation", "region", "report", "bundle"]
)


rule all:
    default_target: True
    input:
        [getattr(rules, product).input for product in PRODUCTS],
        rules.run_record.output,
