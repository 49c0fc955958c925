"""Sending the runs of a batch elsewhere: Snakemake's executor plugins, and what each is told."""

from __future__ import annotations

import os
import pkgutil
import shlex
import shutil
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustnb.errors import UsageError, unknown
from robustnb.reproduce import slurm, snakemake_options
from robustnb.reproduce.atomic import write_atomically
from robustnb.reproduce.keys import RunSpec
from robustnb.reproduce.project import Project

LOCAL = "local"
SLURM = "slurm"
_PLUGIN = "snakemake_executor_plugin_"
_FIRST_CHECK_SECONDS = 10


def _logs(project: Project) -> Path:
    return project.build / "logs" / "slurm"


def _plugins() -> list[str]:
    found = [m.name for m in pkgutil.iter_modules() if m.name.startswith(_PLUGIN)]
    names = (name.removeprefix(_PLUGIN).replace("_", "-") for name in found)
    return sorted(name for name in names if not name.endswith("-jobstep"))


def check(executor: str, extra: Sequence[str]) -> None:
    """UsageError, saying what is missing or set here, unless a batch can be started so."""
    plugins = _plugins()
    if executor == SLURM and SLURM not in plugins:
        raise UsageError("the executor slurm is not installed; pip install --editable '.[cluster]'")
    if executor not in (LOCAL, *plugins):
        raise unknown("executor", executor, {LOCAL, SLURM, *plugins})
    snakemake_options.check(extra)


@dataclass(frozen=True)
class Batch:
    """One batch: the executor its runs are sent to, and the token by which its jobs are known."""

    executor: str
    token: str

    @property
    def prefix(self) -> str:
        """How the names of its jobs begin."""
        return f"robustnb-{self.token}"

    @property
    def stop_signal(self) -> signal.Signals:
        """What ends Snakemake with its jobs; told by SIGTERM it would wait for those sent away."""
        return signal.SIGTERM if self.executor == LOCAL else signal.SIGINT

    def options(self, project: Project, jobs: int) -> list[str]:
        """Words for Snakemake: executor, most jobs at a time, and what Slurm's plugin needs.

        Raises SlurmError when Slurm does not answer.
        """
        if self.executor == LOCAL:
            return []
        words = ["--executor", self.executor, "--jobs", str(jobs)]
        if self.executor == SLURM:
            given = {
                "--slurm-status-command": slurm.status_command(),
                "--slurm-init-seconds-before-status-checks": str(_FIRST_CHECK_SECONDS),
                "--slurm-jobname-prefix": self.prefix,
                "--slurm-logdir": str(_logs(project)),
            }
            words += [word for pair in given.items() for word in pair]
        return words

    def programs(self, project: Project) -> list[str]:
        """Folders that go first on the PATH of Snakemake and its jobs.

        Where Slurm is found through SLURM_CONF, `srun` must be told again: the plugin drops the
        variable inside a job.
        """
        configuration, srun = os.environ.get("SLURM_CONF"), shutil.which("srun")
        if self.executor != SLURM or not configuration or not srun:
            return []
        told = project.build / "slurm" / "srun"
        call = f'SLURM_CONF={shlex.quote(configuration)} exec {shlex.quote(srun)} "$@"'
        write_atomically(told, f"#!/bin/sh\n{call}\n")
        told.chmod(0o755)
        return [str(told.parent)]

    def follower(
        self, project: Project, runs: Iterable[RunSpec], report: slurm.Report
    ) -> slurm.Follower | None:
        """What follows the jobs; None for an executor whose queue is not known here."""
        if self.executor != SLURM:
            return None
        names = {slurm.tag(run): run.name for run in runs}
        return slurm.Follower(self.prefix, _logs(project), names, report)

    def cancel(self) -> int:
        """End the jobs that are left on the cluster, and return how many there were.

        Raises SlurmError when that cannot be done now.
        """
        return slurm.cancel(self.prefix) if self.executor == SLURM else 0
