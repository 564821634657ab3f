"""Real clusters that do the work of an engine: Dask's and Ray's scheduler with two workers, and Slurm's daemons."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from parts import needs, needs_root, part
from rendering import ROOT
from running import free_port
from servers import process

HERE = Path(sys.executable).parent
PAGE = ROOT / "template" / "vendor" / "slipway" / "docs" / "engines.md"
MANIFESTS = ROOT / "template" / "vendor" / "slipway" / "kubernetes"


@dataclass(frozen=True)
class Cluster:
    """How a client finds it: variables of its environment, and what its command begins with. `head` is a log."""

    env: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    head: Path | None = None

    def lose_head(self) -> None:
        """Kill the scheduler, and all that was started with it."""
        (first,) = (one for one in processes() if writes(one, self.head) and os.getsid(one) == one)
        for one in processes():
            if os.getsid(one) == first:
                os.kill(one, signal.SIGKILL)


def processes() -> Iterator[int]:
    """All that run on this machine."""
    return map(int, filter(str.isdecimal, [place.name for place in Path("/proc").iterdir()]))


def writes(process: int, log: Path | None) -> bool:
    """Whether a process writes to this log."""
    try:
        return Path(f"/proc/{process}/fd/1").readlink() == log
    except OSError:  # it has ended
        return False


@contextmanager
def two_processes(folder: Path) -> Iterator[Cluster]:
    """No cluster: two processes of this machine."""
    del folder
    yield Cluster({"MLOPS_ENGINE": "local", "WORKERS": "2"})


@contextmanager
def dask_cluster(folder: Path, programs: Path = HERE) -> Iterator[Cluster]:
    """The scheduler of the page, and its two workers, each under a nanny; `programs` is where the commands lie."""
    _, work = page_commands("dask")
    log = folder / "workers.log"
    with dask_scheduler(folder, programs) as address:
        port = int(address.rpartition(":")[2])
        workers = [*placed(work, "127.0.0.1", port, programs), "--local-directory", str(folder / "spill")]
        with process(workers, lambda: log.read_text().count("Registered to") == 2, log):
            yield Cluster({"MLOPS_ENGINE": "dask", "MLOPS_ENGINE_ADDRESS": address})


@contextmanager
def dask_scheduler(folder: Path, programs: Path = HERE) -> Iterator[str]:
    """The scheduler of the page alone; yields its address."""
    port = free_port()
    start, _ = page_commands("dask")
    with process(placed(start, "127.0.0.1", port, programs), listens(port), folder / "scheduler.log"):
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def dask_pods(folder: Path) -> Iterator[Cluster]:
    """The scheduler and the two workers of the manifests, each as its pod starts it, in a network of their own."""
    needs("ip")
    needs_root("a network of its own")
    (made,) = yaml.safe_load_all((MANIFESTS / "dask" / "cluster.yaml").read_text("utf-8"))
    scheduler, worker = (made["spec"][part]["spec"]["containers"][0]["args"] for part in ("scheduler", "worker"))
    told = {"$(DASK_SCHEDULER_ADDRESS)": "tcp://127.0.0.1:8786", "=/tmp": f"={folder}"}  # as the operator tells them
    with ExitStack() as running:
        inside = running.enter_context(network(folder))
        pods = {"scheduler": (scheduler, "Scheduler at:")}
        pods |= {f"worker{one}": (worker, "Registered to:") for one in range(made["spec"]["worker"]["replicas"])}
        for name, (args, ready) in pods.items():
            log, given = folder / f"{name}.log", " ".join(args).replace("$(DASK_WORKER_NAME)", name)
            for variable, value in told.items():
                given = given.replace(variable, value)
            running.enter_context(process([*inside, *f"{HERE}/{given}".split()], says(ready, log), log))
        env = {"MLOPS_ENGINE": "dask", "MLOPS_ENGINE_ADDRESS": told["$(DASK_SCHEDULER_ADDRESS)"]}
        yield Cluster(env, inside, folder / "scheduler.log")


@contextmanager
def ray_cluster(folder: Path, programs: Path = HERE) -> Iterator[Cluster]:
    """The head of the page, and its node twice with a processor each, in a network of their own.

    For Ray listens on every interface. `programs` is where the command lies.
    """
    needs("ip")
    needs_root("a network of its own")
    # Paths of its sockets have no more than 107 characters.
    place = tempfile.mkdtemp(prefix="ray")
    env = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_DOCKER_CPU_WARNING": "1"}
    start, join = page_commands("ray")
    small = ("--block", "--object-store-memory=100000000")
    with ExitStack() as running:
        running.callback(shutil.rmtree, place, ignore_errors=True)
        inside = running.enter_context(network(folder))
        nodes = {"head": [*placed(start, "127.0.0.1", 6379, programs), *small, "--num-cpus=0", f"--temp-dir={place}"]}
        for one in (2, 3):
            nodes[f"node{one}"] = [*placed(join, f"127.0.0.{one}", 6379, programs), *small, "--num-cpus=1"]
        for name, command in nodes.items():  # two that start at the same moment take the same socket
            log = folder / f"{name}.log"
            running.enter_context(process([*inside, *command], says("will now block forever", log), log, env))
        env |= {"MLOPS_ENGINE": "ray", "MLOPS_ENGINE_ADDRESS": "127.0.0.1:6379"}
        yield Cluster(env, inside, folder / "head.log")


#: What KubeRay 1.7 adds to `rayStartParams` (ray-operator/controllers/ray/common/pod.go); each pod has these ports.
KUBERAY = ("--block", "--metrics-export-port={}", "--dashboard-agent-listen-port={}")


@contextmanager
def ray_pods(folder: Path, project: Path) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """The head and the workers of the manifests, as KubeRay starts them, in a network of their own.

    Yields what a command begins with, and has as variables, in the pod that sends the entrypoint.
    """
    needs("ip")
    needs_root("a network of its own")
    made = yaml.safe_load((MANIFESTS / "ray" / "job.yaml").read_text("utf-8"))["spec"]["rayClusterSpec"]
    token = {"RAY_AUTH_MODE": made["authOptions"]["mode"], "RAY_AUTH_TOKEN": "0" * 40}
    common = token | {"PATH": f"{project}/.venv/bin{os.pathsep}{os.environ['PATH']}"}
    (workers,) = made["workerGroupSpecs"]
    pods = [("head", made["headGroupSpec"], "--head --dashboard-host=0.0.0.0")]
    pods += [(f"worker{one}", workers, "--address=127.0.0.1:6379") for one in range(workers["replicas"])]
    place = tempfile.mkdtemp(prefix="ray")
    with ExitStack() as running:
        running.callback(shutil.rmtree, place, ignore_errors=True)
        inside = running.enter_context(network(folder))
        for number, (name, group, role) in enumerate(pods, 1):
            (container,) = group["template"]["spec"]["containers"]
            params = {"num-cpus": container["resources"]["limits"]["cpu"]} | group["rayStartParams"]
            flags = [f"--{key}" if value == "true" else f"--{key}={value}" for key, value in params.items()]
            flags += [flag.format(free_port()) for flag in KUBERAY]
            # What one machine needs that has all of them.
            flags += [f"--node-ip-address=127.0.0.{number}", "--object-store-memory=100000000"]
            flags += [f"--temp-dir={place}"] if name == "head" else []
            env = {one["name"]: one["value"] for one in container.get("env", [])} | common
            command = [*inside, "env", f"--chdir={project}", "ray", "start", *role.split(), *flags]
            log = folder / f"{name}.log"
            running.enter_context(process(command, says("will now block forever", log), log, env))
        yield inside, os.environ | common


def page_commands(engine: str) -> list[str]:
    """The two commands by which the page starts a cluster."""
    return re.findall(rf"^uv run ({engine} .*)$", PAGE.read_text("utf-8"), flags=re.MULTILINE)


def placed(command: str, host: str, port: int, programs: Path = HERE) -> list[str]:
    """A command of the page with addresses of this machine: the scheduler's is 127.0.0.1, the worker's `host`."""
    for there, here in {"10.0.0.5": "127.0.0.1", "10.0.0.6": host, "8786": str(port)}.items():
        command = command.replace(there, here)
    program, *options = command.split()
    return [str(programs / program), *options]


@contextmanager
def slurm_cluster(folder: Path) -> Iterator[Cluster]:
    """A controller and a node, whose jobs are as real as any."""
    needs("munged", "slurmctld", "slurmd", "sbatch")
    needs_root("Slurm")
    key, conf, name = folder / "munge.key", folder / "slurm.conf", socket.gethostname().partition(".")[0]
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    ports = free_port(), free_port()
    for made in ("state", "spool"):
        (folder / made).mkdir()
    conf.write_text(SLURM.format(name=name, folder=folder, controller=ports[0], node=ports[1]), encoding="utf-8")
    env = {"SLURM_CONF": str(conf)}
    files = {"socket": "m.sock", "pid-file": "m.pid", "log-file": "munge.log", "seed-file": "m.seed"}
    munge = [str(part("munged")), "--foreground", "--force", "--key-file", str(key)]
    munge += [f"--{option}={folder / file}" for option, file in files.items()]
    with (
        process(munge, (folder / "m.sock").exists, folder / "munged.log"),
        process([str(part("slurmctld")), "-D"], listens(ports[0]), folder / "controller.log", env),
        process([str(part("slurmd")), "-D"], lambda: is_idle(env), folder / "node.log", env),
    ):
        # A job has nothing of a client's environment.
        inside = [f"export {name}='{os.environ[name]}'" for name in ("PYTHONPATH",) if name in os.environ]
        inside.append(f"export SLURM_CONF='{conf}'")
        own = {"INTERFACE": "lo", "MEMORY": "1 GB", "JOB_SCRIPT_PROLOGUE": repr(inside)}
        asked = {f"DASK_JOBQUEUE__SLURM__{name}": value for name, value in own.items()}
        yield Cluster({"MLOPS_ENGINE": "slurm", "WORKERS": "2", **asked, **env})


SLURM = """\
ClusterName=tests
SlurmctldHost={name}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
# Without these two they listen on every interface.
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/m.sock
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={name} NodeAddr=127.0.0.1 CPUs=2 RealMemory=3000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def network(folder: Path) -> Iterator[tuple[str, ...]]:
    """A network of its own, with a loopback address; yields what a command begins with to be in it."""
    pid = folder / "pid"
    command = ["unshare", "--net", "sh", "-c", f"ip link set lo up && echo $$ >{pid} && exec sleep infinity"]
    with process(command, lambda: pid.is_file() and pid.read_text().endswith("\n"), folder / "network.log"):
        yield ("nsenter", f"--net=/proc/{pid.read_text().strip()}/ns/net", "--")


def listens(port: int) -> Callable[[], bool]:
    """Whether something listens at a port of the loopback address."""

    def does() -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    return does


def says(text: str, log: Path) -> Callable[[], bool]:
    """Whether a log has a text in it."""
    return lambda: text in log.read_text("utf-8", errors="replace")


def is_idle(env: dict[str, str]) -> bool:
    """Whether Slurm has a node that waits for jobs."""
    asked = subprocess.run(
        [str(part("sinfo")), "--noheader", "--format=%t"],
        env=os.environ | env,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() == "idle"
