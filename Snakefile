# One rule: a run of one notebook at one profile with one seed. `robustnb reproduce` names the
# targets; a target's path holds the key of everything the run depends on, so a run that is there
# is done and one that is not there is missing. Paths start at build/snakemake, so that none holds
# what Snakemake takes for a wildcard. `--executor NAME` sends the runs to a cluster, and words for
# Snakemake itself go through --snakemake:
#   robustnb reproduce --profile gpu --seeds 0-4 --executor slurm --jobs 8
import shlex
import sys


from robustnb.reproduce import profiles, project
from robustnb.reproduce.limits import SILENCE_SECONDS

PROFILES = profiles.load(project.find().notebooks)
SILENCE = config.get("silence", SILENCE_SECONDS)
# Only `robustnb reproduce --timeout` bounds a job; without it the cluster's own default holds.
TOTAL = config.get("timeout")
RUNTIME = {} if TOTAL is None else {"runtime": 2 + int(float(TOTAL) / 60)}
# Runs that are to be made afresh take the place of old ones only when they are done, so they are
# known to Snakemake by a mark that is none of theirs.
FRESH = "fresh" in config
PLACE = "{profile}/{paper}/seed{seed}-{key}/"
LIMITS = f"--silence {SILENCE}" + ("" if TOTAL is None else f" --timeout {TOTAL}")


wildcard_constraints:
    profile="|".join(PROFILES),
    paper="[a-z0-9]+",
    seed=r"\d+",
    key="[0-9a-f]+",


rule run:
    output:
        f"fresh/{PLACE}done" if FRESH else f"../runs/{PLACE}record.json",
    threads: 1
    resources:
        mem_mb=lambda wildcards: int(1024 * PROFILES[wildcards.profile].memory_gb),
        gpu=lambda wildcards: int(wildcards.profile in ("gpu", "paper")),
        **RUNTIME,
    params:
        # functions, since Snakemake would look for wildcards in a text
        python=lambda wildcards: sys.executable,
        limits=lambda wildcards: LIMITS,
        end=lambda wildcards, output: f"--fresh && touch {shlex.quote(output[0])}" if FRESH else "",
    shell:
        "{params.python:q} -P -m robustnb.reproduce.main run {wildcards.paper}"
        " --profile {wildcards.profile} --seed {wildcards.seed} --quiet {params.limits} {params.end}"
