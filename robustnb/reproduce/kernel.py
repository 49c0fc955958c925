"""The kernel of a run: this very interpreter, whatever kernels the user has installed by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from robustnb.errors import RunError

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
    return [sys.executable, "-P", "-s", "-c", _LAUNCH, "-f", "{connection_file}"]


def manager_class(environment: Mapping[str, str]) -> type[Any]:
    """The class by which nbclient starts this interpreter's kernel with `environment`."""
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
                await self._async_start_kernel(**{**settings, "env": dict(environment)})
            except OSError as error:
                raise RunError(f"the kernel {sys.executable} did not start: {error}") from error

    return OwnInterpreter
