"""A run in a home folder full of settings gives the page that it gives without them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from robustnb.reproduce import isolation, kernel
from robustnb.reproduce.project import run_environment

START_UP = "import numpy\nnumpy.random.default_rng = lambda seed: numpy.random.Generator(None)\n"
SHOUT = "import builtins\nbuiltins.print = lambda *words: None\n"
HOSTILE = {
    "ipython/profile_default/startup/00-patch.py": START_UP,
    "ipython/profile_default/ipython_config.py": (
        "get_config().InteractiveShell.ast_node_interactivity = 'all'\n"
    ),
    "startup.py": START_UP,
    "added/sitecustomize.py": SHOUT,
    "added/usercustomize.py": SHOUT,
    "added/torch.py": "raise ImportError('this is not torch')\n",
    "mpl/matplotlibrc": "figure.facecolor: black\nnot a setting\n",
    "here/matplotlibrc": "figure.facecolor: black\n",
    "jupyter/kernels/python3/kernel.json": json.dumps(
        {
            "argv": ["/nowhere/python", "{connection_file}"],
            "display_name": "x",
            "language": "python",
        }
    ),
    "damaged/kernels/python3/kernel.json": "{",
    "config/jupyter_client_config.py": "raise RuntimeError\n",
}
SHOWN = """
import os, sys
import matplotlib
import numpy as np
1 + 1
print(matplotlib.rcParams["figure.facecolor"], matplotlib.rcParams["backend"])
print(__debug__, sys.flags.no_user_site, sys.warnoptions, np.random.default_rng(0).random())
print(sorted(name for name in os.environ if "TF32" in name or name.startswith("PYTHON")))
2 + 2
"""


def hostile(home: Path) -> dict[str, str]:
    for name, text in HOSTILE.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {
        "HOME": str(home),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONSTARTUP": str(home / "startup.py"),
        "PYTHONPATH": str(home / "added"),
        "PYTHONOPTIMIZE": "1",
        "PYTHONWARNINGS": "error",
        "MPLBACKEND": "pdf",
        "MPLCONFIGDIR": str(home / "mpl"),
        "MATPLOTLIBRC": str(home / "mpl" / "matplotlibrc"),
        "JUPYTER_PATH": os.pathsep.join([str(home / "jupyter"), str(home / "damaged")]),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "JUPYTER_DEFAULT_PROVISIONER_NAME": "nothing-of-this-name",
        "NVIDIA_TF32_OVERRIDE": "1",
        "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    }


def shown_by(toy, build: str, **settings: str) -> list[list[dict]]:
    """The outputs of a run by the command, as a user with these settings starts it."""
    environment = {**os.environ, **settings}
    environment |= {"ROBUSTNB_ROOT": str(toy.root), "ROBUSTNB_BUILD": str(toy.root / build)}
    command = [sys.executable, "-c", "from robustnb.reproduce.main import main; main()"]
    command += ["run", "toy2020", "--profile", "smoke"]
    here = Path(settings.get("HOME", toy.root)) / "here"
    here.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = json.loads(Path(done.stdout.strip()).read_text())["cells"]
    return [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]


def test_a_users_settings_change_nothing_in_a_run(toy, edit, tmp_path_factory):
    edit("import time\n", f"import time\n{SHOWN}")
    plain = shown_by(toy, "plain")
    assert shown_by(toy, "hostile", **hostile(tmp_path_factory.mktemp("home"))) == plain
    printed = "".join(line for output in plain[1] for line in output.get("text", []))
    assert "white" in printed and "inline" in printed
    assert "True 1 [] 0.6369616873214543" in printed
    assert [output["output_type"] for output in plain[1]] == ["stream"]


def test_the_record_names_the_interpreter_that_ran_and_no_path(toy, tmp_path):
    settings = hostile(tmp_path / "home")
    shown_by(toy, "build", JUPYTER_PATH=settings["JUPYTER_PATH"])
    (record,) = toy.runs.rglob("record.json")
    told = json.loads(record.read_text())
    version = ".".join(map(str, sys.version_info[:3]))
    assert told["interpreter"] == {"implementation": "CPython", "version": version}
    assert sys.prefix not in record.read_text()


def test_a_kernel_is_this_interpreter():
    assert kernel.command()[0] == sys.executable


def test_a_missing_ipykernel_is_told_with_the_command_that_installs_it(monkeypatch, tmp_path):
    from robustnb.errors import RunError

    monkeypatch.setattr(kernel, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"pip install 'robustnb\[book\]'"):
        kernel.manager_class({}, tmp_path / "log")


def test_what_says_where_things_are_stays_and_what_changes_results_goes(tmp_path):
    given = {"PATH": "p", "HOME": "h", "TORCH_HOME": "t", "ROBUSTNB_DATA": "d", "LANG": "C",
             "CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": "l"}  # fmt: skip
    bad = dict.fromkeys(["PYTHONINSPECT", "MKL_CBWR", "NPY_DISABLE_CPU_FEATURES", "SEABORN_DATA",
                         "ATEN_CPU_CAPABILITY", "COLUMNS", "PWD", "OLDPWD",
                         "TORCHDYNAMO_DISABLE"], "x")  # fmt: skip
    left = isolation.isolated(given | bad, tmp_path)
    assert {name: left.get(name) for name in given} == given
    assert not set(bad) & set(left)


def test_a_run_asks_every_network_as_it_comes_whatever_the_user_says(toy, monkeypatch):
    monkeypatch.setenv("ROBUSTNB_LAYOUT", "auto")  # a choice by timing would change last bits
    assert run_environment(toy)["ROBUSTNB_LAYOUT"] == "keep"


def test_packages_that_the_user_added_are_kept_only_where_the_interpreter_has_none(tmp_path):
    for folder, package in [("mine", "torch"), ("mine", "sklearn"), ("own", "torch")]:
        (tmp_path / folder / package).mkdir(parents=True)
        (tmp_path / folder / package / "__init__.py").touch()
    own, mine = str(tmp_path / "own"), str(tmp_path / "mine")
    rest = [entry for entry in sys.path if entry]
    assert mine not in isolation.import_folders([own, *rest], [mine])
    code = (
        "import sys; from robustnb.reproduce.isolation import import_folders as f; "
        f"print(f([{mine!r}], [{mine!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": mine},
        capture_output=True,
        text=True,
        check=True,
    )
    assert mine in done.stdout


def test_a_command_runs_isolated_under_the_module(tmp_path):
    show = "import os; print(os.environ.get('MPLBACKEND'), os.environ['IPYTHONDIR'])"
    command = [sys.executable, "-m", "robustnb.reproduce.isolation", str(tmp_path / "settings")]
    done = subprocess.run(
        [*command, sys.executable, "-c", show],
        env={**os.environ, "MPLBACKEND": "pdf"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["None", str(tmp_path / "settings" / "ipython")]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1 and "usage:" in refused.stderr


def test_the_kernel_imports_the_copy_of_robustnb_that_the_command_imports(tmp_path):
    (tmp_path / "robustnb").symlink_to(Path(isolation.__file__).parents[1])
    code = (
        "import os, pathlib; from robustnb.reproduce.isolation import isolated; "
        f"print(isolated(os.environ, pathlib.Path({str(tmp_path)!r}))['PYTHONPATH'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().split(os.pathsep)[0] == str(tmp_path)


def test_nbval_runs_isolated_as_a_run_does(root):
    text = (root / "Makefile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("\t") and "$(NBVAL)" in line]
    assert lines and all(line.startswith("\t$(ISOLATED) $(TEST) ") for line in lines)


def test_the_books_build_is_isolated(toy, monkeypatch):
    from robustnb.errors import RobustnbError
    from robustnb.reproduce import book

    seen = {}

    def build(_command, environment, log, _report):
        log.write_text("")
        seen.update(environment)
        return 1

    toy.ledger.parent.mkdir(parents=True)
    for path in (toy.ledger, toy.root / "_config.yml", toy.root / "_toc.yml"):
        path.write_text("{}")
    monkeypatch.setattr(book, "_run", build)
    monkeypatch.setenv("MATPLOTLIBRC", "mine")
    with pytest.raises(RobustnbError, match="did not build"):
        book.build(toy, toy.root, report=lambda _line: None)
    assert "MATPLOTLIBRC" not in seen and seen["ROBUSTNB_LEDGER"] == str(toy.ledger)
