"""Entry point of the `robustnb` command."""

from __future__ import annotations

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def main() -> None:
    """Run the command line; the command needs the `book` extra, the library does not."""
    _open_streams()
    try:
        import click  # noqa: F401
        import pydantic  # noqa: F401
        import yaml  # noqa: F401
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"robustnb: the command needs {error.name}; "
            "install it with: pip install 'robustnb[book]'\n"
        )
        raise SystemExit(1) from None
    from robustnb.reproduce.cli import run

    run()


def _open_streams() -> None:
    """Open what the caller closed (`2>&-`) on nothing, before a file of ours gets its number."""
    for number, (name, mode) in enumerate(_STREAMS):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            os.set_inheritable(number, True)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    main()
