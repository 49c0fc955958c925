"""The gpu profile's cells run, cut to two batches on a CPU, and claim nothing by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robustnb.reproduce import pipeline
from robustnb.reproduce.project import Project

CUT = {
    "zhang2019": {
        "device": "cpu", "max_batches": 2, "batch_size": 4, "train_size": 64, "val_size": 8,
        "test_size": 4, "audit_size": 2, "epochs": 1, "steps": 2, "paper_steps": 2,
        "strong_steps": 2, "strong_targets": 1, "strong_queries": 2, "audit_restarts": 1,
        "curve": "[1,10,100]", "theory_instances": 100, "theory_grid": 21,
        "binary_train_size": 64, "binary_test_size": 16, "binary_epochs": 1,
    },
    "schmidt2018": {
        "device": "cpu", "draws": 2000, "search": 50, "replicates": 3, "sets": 10,
        "sizes": "[8, 16]", "updates": 2, "warm_updates": 1, "batch_size": 4, "steps": 2,
        "test_size": 4, "audit_size": 2, "gap_size": 4, "filter_size": 8, "paper_steps": 2,
        "strong_steps": 2, "strong_targets": 1, "strong_queries": 2,
    },
    "carmon2019": {
        "device": "cpu", "draws": 2000, "search": 50, "trials": 5, "replicates": 3, "streams": 1,
        "train_size": 16, "pseudo_size": 32, "test_size": 4, "audit_size": 2, "steps": 2,
        "updates": 2, "batch_size": 8, "paper_steps": 2, "paper_restarts": 1, "strong_steps": 2,
        "strong_targets": 1, "strong_queries": 2, "certify_n0": 2, "certify_n": 20,
        "certify_size": 2,
    },
    "tsipras2019": {
        "device": "cpu", "model": "light_cnn", "instances": 50, "draws": 2000, "dim": 100,
        "learner_size": 100,
        "svm_size": 200, "svm_steps": 2, "train_size": 100, "epochs": 1, "batch_size": 50,
        "steps": 2, "test_size": 10, "attack_size": 4, "audit_size": 2, "paper_steps": 2,
        "strong_steps": 2, "strong_targets": 1, "strong_queries": 2, "big_steps": 2,
        "sweep": "[0.5]", "few_sizes": "[50, 100]", "few_updates": 2, "pair_size": 50,
        "pair_steps": 2,
    },
    "ilyas2019": {
        "device": "cpu", "instances": 50, "draws": 2000, "toy_size": 4000, "toy_steps": 50,
        "train_size": 20, "match_size": 6, "match_steps": 2, "moved_steps": 2, "epochs": 1,
        "updates": 2, "batch_size": 10, "steps": 2, "test_size": 20, "attack_size": 4,
        "audit_size": 2, "paper_steps": 2, "strong_steps": 2, "strong_targets": 1,
        "strong_queries": 2, "early_size": 10, "early_updates": 1, "pool_size": 100,
    },
    "papernot2016": {
        "device": "cpu", "instances": 50, "draws": 2000, "subset_size": 100, "train_size": 200,
        "epochs": 1, "batch_size": 50, "test_size": 6, "solver_steps": 2, "svm_sweep": "[1.5]",
        "seed_size": 10, "doubling": 1, "kept": 5, "rounds": 2, "net_rounds": 2,
        "service_rounds": 2, "substitute_epochs": 1, "substitute_batch": 10, "trees": 2,
        "service_size": 4,
    },
    "shafahi2020": {
        "device": "cpu", "instances": 50, "train_size": 20, "val_size": 10, "updates": 5,
        "head_updates": 2, "study_updates": 2, "tune_updates": 2, "batch_size": 4, "steps": 2,
        "counts": "[0, 1, 10]", "hidden": 8, "weights": "[0.0, 0.01]", "few": "[2, 3]",
        "test_size": 4, "attack_size": 2, "audit_size": 2, "paper_steps": 2, "strong_steps": 2,
        "strong_targets": 1, "strong_queries": 2, "shift_steps": 2, "picture_side": 32,
        "picture_train": 20, "picture_size": 2,
    },
    "wu2020": {
        "device": "cpu", "instances": 50, "shrink": 4, "widen": 1, "layers": 1, "growth": 2,
        "train_size": 40, "epochs": 1, "batch_size": 20, "pool_size": 100, "attack_size": 4,
        "steps": 2, "photo_side": 96, "judge_side": 96, "photo_pool": 20, "photo_size": 2,
        "more": '["resnet18", "densenet121"]',
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("paper", CUT)
def test_the_gpu_profile_cut_to_two_batches_runs_on_a_cpu(
    paper: str, root: Path, tmp_path: Path
) -> None:
    project = Project(root, tmp_path / "build")
    cut = [word for name, value in CUT[paper].items() for word in ("-p", f"{name}={value}")]
    command = [sys.executable, "-m", "robustnb.reproduce.main", "run", paper, "--profile", "gpu"]
    environment = {**os.environ, "ROBUSTNB_BUILD": str(project.build)}
    environment.pop("ROBUSTNB_MODELS", None)
    done = subprocess.run(
        [*command, *cut], env=environment, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ledger = pipeline.build_ledger(project)
    for claim in ledger["papers"][paper]["claims"].values():
        for part in claim["parts"].values():
            if part["profile"] == "gpu":
                assert part["profiles"]["gpu"]["word"] in ("not run", "recalled, not judged")
