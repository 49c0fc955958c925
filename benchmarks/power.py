"""What the size of the laptop profile can see: the power of each part, from runs no claim uses.

Give it the runs of unregistered seeds, made by `robustnb run PAPER --profile laptop --seed 100`
and so on. They give the standard error that five seeds have, and nothing else: the effect
is the registered one (`planned` in notebooks/claims), never the one the pilots found. Written to
benchmarks/results/power.json; a part with less than 80 % belongs "not at this scale (power)".
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from robustnb.reproduce.evidence import gather
from robustnb.reproduce.registry import load
from robustnb.reproduce.registry_types import Paper, Part
from robustnb.reproduce.run_records import RunRecord
from robustnb.stats import power_against, power_of_equivalence

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "power.json"


def pilots(paper: Paper, runs: Path) -> list[RunRecord]:
    """The laptop runs of seeds that no part registers, one of each seed."""
    registered = {seed for part in paper.parts().values() for seed in part.seeds}
    found = {}
    for path in sorted(runs.glob(f"{paper.id}/*/record.json")):
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["profile"] == "laptop" and plain["seed"] not in registered:
            found[plain["seed"]] = RunRecord(plain, None)
    return [found[seed] for seed in sorted(found)]


def row(part: Part, records: list[RunRecord]) -> dict[str, object]:
    """Standard error, degrees of freedom and power of one part."""
    assert part.planned is not None
    runs = [run for record in records if (run := record.run(part)) is not None]
    if len(runs) != len(part.seeds):
        raise SystemExit(f"{part.id}: {len(runs)} pilot runs hold it, and {len(part.seeds)} seeds")
    seeds = tuple(run.seed for run in runs)
    found = gather(replace(part, seeds=seeds), runs)
    error, effect = found.standard_error, part.planned.effect
    power = power_of_equivalence if part.kind == "equivalence" else power_against
    return {
        "effect": effect,
        "standard_error": round(error, 6),
        "degrees_of_freedom": found.freedom,
        "detectable": round(found.detectable(), 6),
        "power": round(power(effect, error, df=found.freedom), 3),
        "pilot_seeds": list(seeds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("papers", nargs="+", metavar="PAPER")
    parser.add_argument("--runs", type=Path, default=ROOT / "build" / "runs" / "custom")
    parser.add_argument("--out", type=Path, default=RESULTS)
    settings = parser.parse_args()
    kept = json.loads(settings.out.read_text("utf-8"))["parts"] if settings.out.exists() else {}
    for name in settings.papers:
        paper = load(ROOT / "notebooks" / "claims" / f"{name}.yaml")
        records = pilots(paper, settings.runs)
        planned = [part for part in paper.parts().values() if part.planned is not None]
        if not planned:
            sys.exit(f"no part of {name} has a planned effect; register one under `planned`")
        kept |= {part.id: row(part, records) for part in planned}
    for part, found in sorted(kept.items()):
        print(f"{part:32s} effect {found['effect']:.3f}  error {found['standard_error']:.4f}  "
              f"power {found['power']:.3f}")  # fmt: skip
    result = {"schema": 1, "parts": dict(sorted(kept.items()))}
    settings.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
