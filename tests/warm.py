"""Commands of generated projects, each forked from a process that has loaded their libraries already.

A command spends two seconds on loading MLflow and its database, and the tests run hundreds of commands. Of a
project itself nothing is loaded before the fork: settings, environment and the modules of platform and team are taken
as from a start. How commands really start is shown by all that runs them in another way: the stages of a pipeline,
servers, workflows, and the commands that pages document.

Run as a program by the Python of a project, this is the process that is forked.
"""

import atexit
import gc
import hashlib
import importlib
import json
import os
import runpy
import signal
import site
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

#: What takes long to load, and asks for no settings meanwhile.
LIBRARIES = (
    "mlflow", "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
    "sklearn.compose", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline", "scipy.stats", "typer",
)  # fmt: skip
#: As the platform has it before it loads MLflow.
SETTINGS = {"MLFLOW_CONFIGURE_LOGGING": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
#: How variables begin that a process reads when it starts, and not later.
AT_THE_START = ("LD_", "PYTHON", "OMP_", "OPENBLAS_")

#: The processes, by what is installed, with what they are asked by; none for what was asked for once.
_running: "dict[str, tuple[subprocess.Popen[bytes], socket.socket] | None]" = {}


def run(
    project: Path, arguments: list[str], env: dict[str, str], timeout_s: float
) -> "subprocess.CompletedProcess[str] | None":
    """Run a command of a project; `None` where it has to be started, as the first with these libraries has."""
    if not (project / ".venv" / "bin" / "mlops").is_file() or _differs_at_the_start(env):
        return None
    installed = _installed(project)
    if installed not in _running:
        _running[installed] = None
        return None
    _, asking = _running[installed] = _running[installed] or _start(project)
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        told, telling = (stack.enter_context(one) for one in socket.socketpair())
        request = {"project": str(project), "arguments": arguments, "env": env}
        socket.send_fds(asking, [json.dumps(request).encode()], [out.fileno(), err.fileno(), telling.fileno()])
        telling.close()
        told.settimeout(timeout_s)
        with told.makefile("r") as answer:
            pid = int(answer.readline())
            try:
                code = int(answer.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(["mlops", *arguments], timeout_s) from None
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(["mlops", *arguments], code, *texts)


def _differs_at_the_start(env: dict[str, str]) -> bool:
    names = {name for name in env.keys() | os.environ.keys() if name.startswith(AT_THE_START)}
    return any(env.get(name) != os.environ.get(name) for name in names)


def _installed(project: Path) -> str:
    """A digest of what a project has installed, so that it is the same for copies."""
    files = [project / "uv.lock", project / "pyproject.toml", *sorted(project.glob("vendor/*/pyproject.toml"))]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def _start(project: Path) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [str(project / ".venv" / "bin" / "python"), __file__, str(theirs.fileno())],
            cwd=project, env=os.environ | SETTINGS, pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
    return process, ours


@atexit.register
def _end() -> None:
    """Let the processes see that nobody asks any more, which ends them."""
    for process, asking in filter(None, _running.values()):
        asking.close()
        process.wait()


def serve(asked: socket.socket) -> dict[str, Any]:
    """Wait for commands, and fork for each; returns in the process that is to be the command."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.freeze()  # a collection would write to each page of what is loaded, and so copy it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, files, _, _ = socket.recv_fds(asked, 1 << 20, 3)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            break
        for file in files:
            os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked.close()
    out, err, telling = files
    if command := os.fork():
        os.write(telling, b"%d\n" % command)
        _, status = os.waitpid(command, 0)
        os.write(telling, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(telling)
    for file, standard in ((out, 1), (err, 2)):
        os.dup2(file, standard)
        os.close(file)
    read: dict[str, Any] = json.loads(request)
    return read


def become(project: str, arguments: list[str], env: dict[str, str]) -> None:
    """Be the command of another project that the same is installed for."""
    root, environment = str(Path(sys.prefix).parent), f"{project}/.venv"
    os.environ.clear()
    os.environ.update(env)
    os.chdir(project)
    sys.prefix = sys.exec_prefix = environment
    sys.executable = f"{environment}/bin/python"
    sys.argv = [f"{environment}/bin/mlops", *arguments]
    # The first is the folder of this file, as it is that of the command later.
    sys.path[:] = [f"{environment}/bin", *(path for path in sys.path[1:] if not Path(path).is_relative_to(root))]
    (packages,) = Path(environment).glob("lib/python*/site-packages")
    site.addsitedir(str(packages))
    importlib.invalidate_caches()
    if spawn := sys.modules.get("multiprocessing.spawn"):
        spawn.set_executable(sys.executable)


def command() -> int:
    """Run the program that `sys.argv` names, as it was installed; returns its exit code."""
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as Python does at its end
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        request = serve(asked)
    become(**request)
    code = command()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python would take every library apart first.
    os._exit(code)
