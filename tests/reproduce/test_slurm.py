"""`robustnb reproduce --executor slurm` on a real Slurm of one node, started here.

It keeps no accounts, so `sacct` answers nothing. Needs Debian's slurmctld, slurmd, slurm-client
and munge (22.05 is what `.ci/run` gets), and touches no Slurm that the machine may have.
"""

from __future__ import annotations

import getpass
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from robustnb.reproduce import cluster

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
SYSTEM = os.pathsep.join(["/usr/sbin", "/sbin"])
QUIET_SECONDS = 300  # a command that says nothing for so long is stuck
CONFIGURATION = """
ClusterName=robustnb
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=4096
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for held in sockets:
        held.bind(("127.0.0.1", 0))
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


class Slurm:
    """A controller, a node and their key, all in one folder."""

    def __init__(self, folder: Path, tools: dict[str, str]) -> None:
        self.folder, self.tools = folder, tools
        self.configuration = folder / "slurm.conf"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def prepare(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(256))
        controller_port, node_port = free_ports(2)
        self.configuration.write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                user=getpass.getuser(),
                folder=self.folder,
                controller_port=controller_port,
                node_port=node_port,
            )
        )

    def start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [self.tools[name], *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SLURM_CONF": str(self.configuration)},
                start_new_session=True,
            )

    def start_key(self) -> None:
        names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log"}
        files = [f"--{option}={self.folder}/munge.{name}" for option, name in names.items()]
        seed = f"--seed-file={self.folder}/munge.seed"
        self.start("munged", "--foreground", "--force", *files, seed)
        self.wait(lambda: (self.folder / "munge.socket").exists())

    def start_controller(self) -> None:
        self.start("slurmctld", "-D")
        self.wait(lambda: self.says("scontrol", "ping").find("is UP") >= 0)

    def start_node(self) -> None:
        self.start("slurmd", "-D")
        self.wait(lambda: self.says("sinfo", "-h", "-o", "%T").strip() == "idle")

    def kill_controller(self) -> None:
        self.processes["slurmctld"].kill()
        self.processes["slurmctld"].wait()

    def says(self, *words: str) -> str:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.stdout

    def jobs(self) -> list[str]:
        return self.says("squeue", "--noheader", "--format=%i").split()

    def wait(self, ready) -> None:
        deadline = time.monotonic() + QUIET_SECONDS
        while not ready():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = [
                    path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.out")
                ]
                pytest.fail(f"Slurm did not start; ended: {dead}\n" + "\n".join(logs))
            time.sleep(0.2)

    def end(self) -> None:
        for process in reversed(list(self.processes.values())):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    path = os.pathsep.join([os.environ["PATH"], SYSTEM])
    tools = {name: shutil.which(name, path=path) for name in COMMANDS}
    missing = [name for name, found in tools.items() if found is None]
    if missing:
        pytest.skip(f"needs Slurm and munge; not on this machine: {', '.join(missing)}")
    if cluster.SLURM not in cluster._plugins():
        pytest.skip("needs snakemake-executor-plugin-slurm (the extra `cluster`)")
    slurm = Slurm(tmp_path_factory.mktemp("slurm"), {n: str(found) for n, found in tools.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(slurm.configuration))
        try:
            slurm.prepare()
            slurm.start_key()
            slurm.start_controller()
            slurm.start_node()
            yield slurm
        finally:
            slurm.says("scancel", "--me")
            slurm.end()


class Command:
    """`robustnb reproduce` on the toy project, and the lines it says as it says them."""

    def __init__(self, toy, *words: str) -> None:
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        environment = {
            **os.environ,
            "ROBUSTNB_ROOT": str(toy.root),
            "ROBUSTNB_BUILD": str(toy.build),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "robustnb.reproduce.main", "reproduce", "toy2020",
             "--executor", "slurm", "--jobs", "2", *words],
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
            # a shell that starts the tests in the background leaves interrupts ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as said:
            for line in said:
                self._queue.put(line.rstrip())
        self._queue.put(None)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, pattern: str) -> None:
        """Read until a line matches."""
        while True:
            line = self._next()
            assert line is not None, f"ended before {pattern!r}:\n{self.text}"
            if re.search(pattern, line):
                return

    def end(self) -> int:
        while self._next() is not None:
            pass
        return self.process.wait()

    def _next(self) -> str | None:
        try:
            line = self._queue.get(timeout=QUIET_SECONDS)
        except queue.Empty:
            self.process.kill()
            pytest.fail(f"nothing said for {QUIET_SECONDS} s after:\n{self.text}")
        if line is not None:
            self.lines.append(line)
        return line


@pytest.fixture
def reproduce(toy, slurm):
    commands: list[Command] = []

    def start(*words: str) -> Command:
        commands.append(Command(toy, *words))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


def records(toy):
    return sorted(path.parent.name.partition("-")[0] for path in toy.runs.rglob("record.json"))


@pytest.mark.slow
def test_three_runs_of_which_one_fails(toy, edit, reproduce, slurm):
    edit("import time\n", "import time\nassert seed != 1, 'seed one is bad'\n")
    command = reproduce("--seeds", "0-2")
    assert command.end() == 5, command.text
    assert records(toy) == ["seed0", "seed2"]
    assert re.search(r"Slurm: \d queued.*, \d running; \d of 3 done", command.text)
    assert "notebook 2 of 3 done" in command.text
    assert re.search(r"in code cell \d+ .* with AssertionError: seed one is bad", command.text)
    named = re.findall(r"Slurm job \d+ is FAILED; its log is (\S+)", command.text)
    assert len(named) == 2 and "seed one is bad" in Path(named[0]).read_text()
    assert slurm.jobs() == []
    assert not (toy.build / "batch.json").exists()


@pytest.mark.slow
def test_a_killed_controller_is_told_and_its_return_too(toy, edit, reproduce, slurm):
    edit("sleep: float = 0.0", "sleep: float = 30.0")
    edit("time.sleep(sleep)", "time.sleep(sleep if seed < 2 else 0)")
    command = reproduce("--seeds", "0-2")
    command.until(r"Slurm: .* 2 running")
    slurm.kill_controller()
    command.until("Slurm does not answer .*Unable to contact slurm controller")
    slurm.start_controller()
    command.until("Slurm answers again")
    assert command.end() == 0, command.text
    assert records(toy) == ["seed0", "seed1", "seed2"]


@pytest.mark.slow
def test_runs_that_outlive_their_controller_are_taken(toy, edit, reproduce, slurm):
    edit("sleep: float = 0.0", "sleep: float = 20.0")
    command = reproduce("--seeds", "0-1")
    command.until(r"Slurm: .* 2 running")
    slurm.kill_controller()
    assert command.end() == 0, command.text
    assert "Slurm does not answer" in command.text
    assert "jobs of this checkout may still run on the cluster" in command.text
    assert records(toy) == ["seed0", "seed1"]
    slurm.start_controller()
    assert reproduce("--seeds", "0-1").end() == 0
    assert not (toy.build / "batch.json").exists()


@pytest.mark.slow
def test_ctrl_c_cancels_the_jobs(toy, edit, reproduce, slurm):
    edit("sleep: float = 0.0", "sleep: float = 60.0")
    command = reproduce("--seeds", "0-2")
    command.until(r"Slurm: .* 2 running")
    command.process.send_signal(signal.SIGINT)
    assert command.end() == 130, command.text
    assert slurm.jobs() == []
    assert records(toy) == []
    assert "interrupted; the same command goes on from here" in command.text


@pytest.mark.slow
def test_jobs_of_a_killed_command_are_cancelled_by_the_next(toy, edit, reproduce, slurm):
    edit("sleep: float = 0.0", "sleep: float = 60.0")
    command = reproduce("--seeds", "0-1")
    command.until(r"Slurm: .* 2 running")
    left = slurm.jobs()
    command.process.kill()
    command.end()
    edit("sleep: float = 60.0", "sleep: float = 0.0")
    assert reproduce("--seeds", "0-1").end() == 0
    assert left and not set(left) & set(slurm.jobs())
    assert records(toy) == ["seed0", "seed1"]
