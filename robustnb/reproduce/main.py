"""Entry point of the `robustnb` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the command needs the `book` extra, the library does not."""
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


if __name__ == "__main__":
    main()
