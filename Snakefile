# One rule: a run of one notebook at one profile with one seed. `robustnb reproduce` names the
# targets; a target's path holds the key of everything the run depends on, so a run that is there
# is done and one that is not there is missing. `--executor NAME` sends the runs to a cluster, and
# words for Snakemake itself go through --snakemake:
#   robustnb reproduce --profile gpu --seeds 0-4 --executor slurm --jobs 8
from robustnb.reproduce import profiles, project

PROJECT = project.find()
PROFILES = profiles.load(PROJECT.notebooks)
BUILD = str(PROJECT.build)


wildcard_constraints:
    profile="|".join(PROFILES),
    paper="[a-z0-9]+",
    seed=r"\d+",
    key="[0-9a-f]+",


rule run:
    output:
        BUILD + "/runs/{profile}/{paper}/seed{seed}-{key}/record.json",
    threads: 1
    resources:
        mem_mb=lambda wildcards: int(1024 * PROFILES[wildcards.profile].memory_gb),
        runtime=lambda wildcards: 1 + int(PROFILES[wildcards.profile].timeout / 60),
        gpu=lambda wildcards: int(wildcards.profile in ("gpu", "paper")),
    shell:
        "robustnb run {wildcards.paper} --profile {wildcards.profile} --seed {wildcards.seed} --quiet"
