"""The kernel of a run: this very interpreter, whatever kernels the user has installed by name."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from robustnb.errors import RunError

T = TypeVar("T")

# What is installed for all users of a machine is configuration as well: IPython would read it.
_LAUNCH = """
from IPython.core import application
application.ENV_CONFIG_DIRS.clear()
application.SYSTEM_CONFIG_DIRS.clear()
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
_METADATA = {"kernel_provisioner": {"provisioner_name": "local-provisioner"}}


def command() -> list[str]:
    """The command that starts a kernel in this interpreter."""
    plain = ["--InteractiveShell.automagic=False"]  # else a bare `ls` would be a command
    return [sys.executable, "-P", "-s", "-c", _LAUNCH, "-f", "{connection_file}", *plain]


def tidily(action: Callable[[], T]) -> T:
    """The value of `action`; if it fails with RunError, an equal one without what it left behind.

    nbclient leaves tasks behind when a kernel is lost or sends what it cannot hold. Python would
    report them as tracebacks of their own later on, even in the middle of parsing other code.
    """
    try:
        return action()
    except RunError as error:
        message = str(error)
    log = logging.getLogger("asyncio")
    before, log.disabled = log.disabled, True
    _end_tasks()
    gc.collect()
    log.disabled = before
    raise RunError(message)


def _end_tasks() -> None:
    from jupyter_core.utils import ensure_event_loop

    loop = ensure_event_loop()
    left = [] if loop.is_running() else asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))


def manager_class(environment: Mapping[str, str], log: Path) -> type[Any]:
    """The class by which nbclient starts this interpreter's kernel with `environment`.

    What the kernel itself writes to stderr, such as why it could not start, goes to `log`.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    if find_spec("ipykernel") is None:
        raise RunError("a notebook needs ipykernel; install it with: pip install 'robustnb[book]'")

    class OwnInterpreter(AsyncKernelManager):
        """Starts the interpreter of this process."""

        @property
        def kernel_spec(self) -> KernelSpec:
            """This interpreter, where another manager would look one up by its name."""
            return KernelSpec(
                argv=command(), display_name="Python 3", language="python", metadata=_METADATA
            )

        async def start_kernel(self, **settings: Any) -> None:  # type: ignore[override]
            """Start it; RunError when the system cannot."""
            try:
                with log.open("ab") as own:
                    changed = {"env": dict(environment), "stderr": own}
                    await self._async_start_kernel(**{**settings, **changed})
            except OSError as error:
                raise RunError(f"the kernel {sys.executable} did not start: {error}") from error

    return OwnInterpreter
