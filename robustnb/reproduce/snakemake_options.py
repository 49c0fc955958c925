"""Words that a user hands to Snakemake: whole options only, and none that the command sets."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robustnb.errors import UsageError

_OURS = frozenset(
    {"--executor", "--slurm-jobname-prefix", "--slurm-logdir", "--config", "--cores", "--jobs",
     "--directory", "--snakefile", "--profile", "--nolock"}
)  # fmt: skip
# What makes Snakemake do something else than all the runs that are asked for.
_NO_RUNS = frozenset(
    {"--help", "--version", "--touch", "--batch", "--until", "--omit-from", "--draft-notebook",
     "--edit-notebook", "--generate-unit-tests", "--lint", "--containerize", "--export-cwl",
     "--list-rules", "--list-target-rules", "--list-changes", "--list-input-changes",
     "--list-params-changes", "--list-untracked", "--list-conda-envs", "--dag", "--rulegraph",
     "--filegraph", "--d3dag", "--summary", "--detailed-summary", "--archive", "--report",
     "--cleanup-metadata", "--cleanup-shadow", "--unlock", "--delete-all-output",
     "--delete-temp-output", "--print-compilation", "--conda-cleanup-envs",
     "--conda-cleanup-pkgs", "--conda-create-envs-only"}
)  # fmt: skip


def check(words: Sequence[str]) -> None:
    """UsageError unless each word is a whole option that may be passed on, or a value of one.

    Snakemake itself takes `--dry` for `--dry-run`, and `-nj4` for `-n -j 4`.
    """
    given = [word for word in words if len(word) > 1 and word[0] == "-" and not _is_number(word)]
    known = _options() if given else {}
    for word in given:
        for name in _names(word, known):
            _check_option(word, name)


def _options() -> dict[str, Any]:
    """Snakemake's options, those of its plugins included, by each of their spellings."""
    from snakemake.cli import get_argument_parser

    actions = get_argument_parser()._actions
    return {spelling: action for action in actions for spelling in action.option_strings}


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _names(word: str, known: Mapping[str, Any]) -> Iterator[str]:
    """The options in a word, each by its first spelling."""
    if word.startswith("--"):
        yield _named(word.partition("=")[0], known)
        return
    for letter in word[1:]:
        yield _named(f"-{letter}", known)
        if known[f"-{letter}"].nargs != 0:  # the rest is its value
            return


def _named(option: str, known: Mapping[str, Any]) -> str:
    if option in known:
        return str(known[option].option_strings[0])
    longer = sorted(name for name in known if name.startswith(option))
    near = difflib.get_close_matches(option, known, n=1)
    if longer:
        hint = f"write one in full: {', '.join(longer)}"
    else:
        hint = f"did you mean {near[0]}?" if near else "`snakemake --help` lists them"
    raise UsageError(f"Snakemake has no option {option}; {hint}")


def _check_option(word: str, name: str) -> None:
    if name == "--dry-run":
        raise UsageError(
            f"{word!r} cannot be passed on to Snakemake; `robustnb reproduce --dry-run` says "
            "what there is to do"
        )
    if name in _OURS:
        raise UsageError(
            f"{word!r} cannot be passed on to Snakemake; choose the executor with "
            "--executor NAME, and use --jobs, --timeout and --silence; the rest is set here"
        )
    if name in _NO_RUNS:
        raise UsageError(
            f"{word!r} cannot be passed on to Snakemake, which would not make all the runs; "
            "leave it out, or say `snakemake` yourself"
        )
