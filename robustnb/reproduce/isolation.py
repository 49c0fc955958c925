"""An environment in which a user's own settings change neither outputs nor numbers.

Profiles and start-up files of IPython, Python's start-up file and warning filters, the user's
site-packages, matplotlib's settings, Jupyter's configuration and the switches of the numerical
libraries stay outside. So two users of one checkout get the same page.

`python -m robustnb.reproduce.isolation FOLDER COMMAND ...` runs a command in it, and keeps what the
tools write about themselves in FOLDER.
"""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Mapping
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

# By the beginning of their names: what changes how code runs, prints, draws or computes.
_DROPPED = (
    "PYTHON", "IPYTHON", "IPY_", "JUPYTER_", "NBVAL", "PYTEST_", "MPL", "MATPLOTLIB", "SEABORN",
    "SYMPY_", "MPMATH_", "TORCH", "PYTORCH_", "ATEN_", "AOTI_", "NVIDIA_TF32", "CUBLAS", "CUDNN_",
    "MKL_", "ONEDNN_", "DNNL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "OMP_", "GOMP_", "KMP_",
    "NUMEXPR_", "NPY_", "NUMPY_", "SCIPY_", "SKLEARN_", "JOBLIB_", "DOCUTILS", "SPHINX",
    "PWD", "OLDPWD",  # of the shell, and no more true in the kernel's own folder
    "COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR", "PY_COLORS", "TQDM_",
)  # fmt: skip
# Where things are and what memory they get, which changes no result.
_KEPT = frozenset(
    {"PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX",
     "JUPYTER_RUNTIME_DIR", "TORCH_HOME", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF",
     "PYTORCH_ENABLE_MPS_FALLBACK"}
)  # fmt: skip
_NEEDED = (
    "ipykernel", "torch", "torchvision", "numpy", "scipy", "safetensors", "filelock",
    "platformdirs", "sklearn", "matplotlib", "seaborn", "mlxtend", "mpmath", "sympy",
)  # fmt: skip


def isolated(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """`environment` without the user's own settings; tools keep theirs below `folder`."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT or not name.upper().startswith(_DROPPED)
    }
    own = {
        "IPYTHONDIR": folder / "ipython",
        "JUPYTER_CONFIG_DIR": folder / "jupyter",
        "MPLCONFIGDIR": folder / "matplotlib",
    }
    for path in own.values():
        path.mkdir(parents=True, exist_ok=True)
    given = environment.get("PYTHONPATH", "")
    folders = import_folders(sys.path, [*given.split(os.pathsep), site.getusersitepackages()])
    return {
        **kept,
        **{name: str(path) for name, path in own.items()},
        **({"PYTHONPATH": os.pathsep.join(folders)} if folders else {}),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
        "PYTHONHASHSEED": "0",
    }


def import_folders(path: list[str], users: list[str]) -> list[str]:
    """Folders that a fresh interpreter needs to be told, to import what this process imports.

    `path` is where this process looks, `users` what of it the user added. Packages that the
    interpreter has itself are taken from there; another copy of the user's does not hide them.
    """
    strange = {os.path.abspath(entry) for entry in [*users, os.curdir]}
    own = [entry for entry in path if entry and os.path.abspath(entry) not in strange]
    mine = find_spec("robustnb")
    found = [] if _place(mine) == _place(PathFinder.find_spec("robustnb", own)) else [mine]
    found += [find_spec(n) for n in _NEEDED if PathFinder.find_spec(n, own) is None]
    return list(dict.fromkeys(place for spec in found if (place := _place(spec))))


def _place(spec: ModuleSpec | None) -> str | None:
    """The folder that holds the package of `spec`."""
    return str(Path(spec.origin).parents[1]) if spec and spec.origin else None


def main() -> None:
    """Run the command given as arguments in place of this process."""
    if len(sys.argv) < 3:
        raise SystemExit("usage: python -m robustnb.reproduce.isolation FOLDER COMMAND ...")
    folder, command = Path(sys.argv[1]).resolve(), sys.argv[2:]
    os.execvpe(command[0], command, isolated(os.environ, folder))


if __name__ == "__main__":
    main()
