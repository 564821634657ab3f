"""Generated workflows, run by act on this machine, with every action replaced by a small local one.

act runs jobs without containers here, and lets pass what it cannot do: it skips a job whose label it does not know,
starts no `services:`, and ends green. So a run is judged by the jobs and steps it ran, not by its exit code alone.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from engine import client_config

#: Where the replacements live, as `<owner>/<repository>/action.yml`.
STUBS = Path(__file__).parent / "actions"
#: What act calls a job that runs beside it instead of in a container.
HOST = "-self-hosted"
#: Actions that log in to a cloud. A step with one of them fails here; `if: ${{ !env.ACT }}` passes over it.
NEEDS_A_CLOUD = (
    "actions/attest-build-provenance",
    "aws-actions/amazon-ecr-login",
    "aws-actions/configure-aws-credentials",
    "azure/login",
    "google-github-actions/auth",
)
#: Steps that ask somebody who is not here, and whom. A run passes over them; `test_workflows.py` keeps this complete.
ELSEWHERE = {
    "Look up known weaknesses of dependencies": "a public database of weaknesses",
    "Take the role for the registry": "AWS",
    "Take the account for the registry": "Google",
    "Log in to Azure": "Azure",
    # Only where one of the three clouds above was asked first.
    "Log in to the registry": "a registry of AWS, Google or Azure",
}
#: What a job may see of this machine's environment: its language, its way out, and where uv finds packages.
KEPT = re.compile(
    r"LANG|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|(CURL|REQUESTS|AWS)_CA_BUNDLE|GIT_SSL_CAINFO|NODE_EXTRA_CA_CERTS"
    r"|PIP_(CERT|INDEX_URL|EXTRA_INDEX_URL)|UV_.*",
    re.IGNORECASE,
)
#: Labels for which act would fetch an image of its own choice, had it no other word.
GUESSED = ("ubuntu-latest", "ubuntu-22.04", "ubuntu-20.04", "ubuntu-18.04")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Step:
    """A step as its workflow file names it; `result` is success, failure or skipped."""

    name: str
    result: str


@dataclass(frozen=True)
class Job:
    """A job of a run; one of a matrix has its values in the name: `test (3.11)`."""

    name: str
    result: str
    steps: tuple[Step, ...]
    log: str

    def ended(self, result: str) -> list[str]:
        """The names of the steps with this result."""
        return [step.name for step in self.steps if step.result == result]


@dataclass(frozen=True)
class WorkflowRun:
    """What a run of a workflow left behind."""

    jobs: dict[str, Job]
    log: str
    summary: str
    artifacts: Path

    def ended(self, result: str) -> set[str]:
        """The names of the jobs with this result."""
        return {name for name, job in self.jobs.items() if job.result == result}

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Each failed step with its job, also one whose failure the workflow allows."""
        return [(name, step) for name, job in self.jobs.items() for step in job.ended("failure")]


def assert_green(run: WorkflowRun, jobs: Mapping[str, Sequence[str]], skipped: Collection[str] = ()) -> None:
    """Expect exactly these jobs to succeed, each with exactly these steps run, and exactly these other jobs skipped."""
    assert run.failures == [], run.log
    assert run.ended("failure") == set(), run.log
    ran = {name: job.ended("success") for name, job in run.jobs.items() if job.result == "success"}
    assert ran == {name: list(steps) for name, steps in jobs.items()}
    assert run.ended("skipped") == set(skipped)


def assert_red(run: WorkflowRun, job: str, step: str) -> None:
    """Expect this job to fail in this step, and no other step of the run to fail."""
    assert run.failures == [(job, step)], run.log
    assert run.jobs[job].result == "failure", run.log


@dataclass(frozen=True)
class Runner:
    """A machine that runs the workflows of a project, which is a Git repository.

    Every run gets its own home and caches in `folder`. As on GitHub, a job starts in an empty workspace, has no uv
    before `setup-uv`, no identity for Git, and gets from `checkout` what is committed, with the history it asks for.
    Unlike there, the jobs of one run share a home, so that one sees a login that another left.
    """

    project: Path
    folder: Path
    repository: str = "example/project"
    secrets: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    #: Folders with more commands, found before those of the system.
    path: Sequence[Path] = ()
    #: What stands for each label of `runs-on`, which is this machine. A job with another label is an error.
    labels: Mapping[str, str] = field(default_factory=lambda: {"ubuntu-24.04": HOST})
    #: The branch that the forge shows first.
    branch: str = "main"
    #: Replacements for actions, by `owner/repository`, beside those in `tests/actions`.
    stubs: Mapping[str, Path] = field(default_factory=dict)

    def run(
        self,
        workflow: str,
        event: str = "push",
        *,
        payload: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        job: str = "",
        timeout_s: float = 600,
    ) -> WorkflowRun:
        """Play an event for one file of `.github/workflows` and wait for the end of all its jobs, or of one."""
        file = WorkflowFile(self.project, f".github/workflows/{workflow}")
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=self.folder))
        for name in ("home", "cache", "artifacts"):
            (folder / name).mkdir()
        client_config(folder / "home" / ".docker")
        # Without it act takes any branch that stands on the same commit.
        ref = _said(_command("git"), "-C", self.project, "symbolic-ref", "HEAD")
        shown = {"repository": {"default_branch": self.branch}}
        told = {"ref": ref} | shown | dict(payload or {}) | ({"inputs": dict(inputs)} if inputs else {})
        _write(folder / "event.json", told)
        _write(folder / "secrets.yml", self.secrets)
        _write(folder / "variables.yml", self.variables)

        command = ["act", event, "--workflows", file.path, "--eventpath", str(folder / "event.json"), *self._switches()]
        command += ["--secret-file", str(folder / "secrets.yml"), "--var-file", str(folder / "variables.yml")]
        command += ["--job", job] if job else []
        command += [f"--local-repository={pin}={stub}" for pin, stub in self._replacements(file, folder).items()]
        done = _act(command, self.project, self._environment(folder), timeout_s)
        run = _read(done.stdout, file, folder / "artifacts")
        self._distrust(run, file, done)
        return run

    def _switches(self) -> list[str]:
        """Nothing from this machine and nothing from the network."""
        owner = self.repository.split("/")[0]
        nothing = [f"--{name}-file=/dev/null" for name in ("env", "input")]
        places = [f"--env=GITHUB_REPOSITORY={self.repository}", f"--env=GITHUB_REPOSITORY_OWNER={owner}"]
        # act has an opinion of its own about these, unless it is told.
        places += [f"--env={name}={value}" for name, value in self.env.items() if name.startswith("GITHUB_")]
        known = dict.fromkeys(GUESSED, "") | dict(self.labels)
        labels = [f"--platform={label}={place}" for label, place in known.items()]
        offline = ["--action-offline-mode", "--no-skip-checkout", "--no-cache-server", "--pull=false"]
        return ["--json", "--rm", *offline, *nothing, *places, *labels]

    def _environment(self, folder: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        uv = _command("uv")
        kept |= {f"UV_{kind.upper()}_DIR": _said(uv, *words) for kind, words in UV_PLACES.items()}
        path = os.pathsep.join([*map(str, self.path), SYSTEM_PATH])
        own = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache"), "GIT_CONFIG_NOSYSTEM": "1"}
        stubs = {"STUB_UV": str(uv.parent), "STUB_ARTIFACTS": str(folder / "artifacts")}
        return kept | own | stubs | {"PATH": path, "STUB_ORIGIN": self.project.resolve().as_uri()} | dict(self.env)

    def _replacements(self, file: "WorkflowFile", folder: Path) -> dict[str, Path]:
        """Each pin of the workflow, without a path inside its repository, and the folder that stands for it."""
        found: dict[str, Path] = {}
        for pin in sorted(file.pins):
            action, _, ref = pin.partition("@")
            owner, name, *inner = action.split("/")
            repository = f"{owner}/{name}"
            stub = self.stubs.get(repository, STUBS / repository)
            if action in NEEDS_A_CLOUD:
                stub = _refusal(folder / "refusals" / action, action)
            if not stub.joinpath(*inner, "action.yml").is_file():
                raise AssertionError(f"{pin} has no stub: write tests/actions/{action}/action.yml")
            found[f"{repository}@{ref}"] = stub
        return found

    def _distrust(self, run: WorkflowRun, file: "WorkflowFile", done: "subprocess.CompletedProcess[str]") -> None:
        """Make an error of what act passes over without a word."""
        unknown = re.search(r"Skipping unsupported platform -- Try running with `-P (.+)=", run.log)
        if unknown:
            raise AssertionError(f"{file.path}: no machine has the label {unknown[1]}, the job was not run")
        for job in file.jobs:
            if job.services and not run.ended("skipped") >= _instances(run, job.name):
                raise AssertionError(f"{file.path}: job {job.name} has services, which are not started here")
        if bool(done.returncode) != bool(run.ended("failure")):
            raise AssertionError(f"act exited with {done.returncode}\n{done.stderr[-3000:]}\n{run.log[-3000:]}")


UV_PLACES = {"cache": ("cache", "dir"), "python_install": ("python", "dir")}


def _command(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise AssertionError(f"{name} is not on PATH")
    return Path(found)


def _said(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout.strip()


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(values)), encoding="utf-8")


def _act(command: list[str], folder: Path, env: dict[str, str], timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Run act in a group of its own, so that nothing it started outlives a run that takes too long."""
    command[0] = str(_command(command[0]))
    pipe = subprocess.PIPE
    started = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )
    try:
        out, error = started.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        out, _ = started.communicate()
        raise AssertionError(f"act took more than {timeout_s} s\n{_text(_lines(out))[-3000:]}") from None
    return subprocess.CompletedProcess(command, started.returncode, out, error)


def _refusal(folder: Path, action: str) -> Path:
    """Write an action that says why it cannot run here."""
    folder.mkdir(parents=True, exist_ok=True)
    command = f"echo '{action} needs a cloud, which is not here' >&2; exit 1"
    steps = [{"run": command, "shell": "bash"}]
    _write(folder / "action.yml", {"name": action, "description": "x", "runs": {"using": "composite", "steps": steps}})
    return folder


# What the files say.


@dataclass(frozen=True)
class DeclaredJob:
    """A job as its file declares it; one of a called workflow has the caller's name before its own: `call/test`."""

    name: str
    id: str
    #: What act calls it: the workflow's or the caller's name, then its own, with values for the expressions.
    label: "re.Pattern[str]"
    steps: tuple[str, ...]
    step_ids: tuple[str, ...]
    services: bool


class WorkflowFile:
    """A workflow with the workflows and actions of the same project that it uses."""

    def __init__(self, project: Path, path: str) -> None:
        """`path` is relative to the project."""
        self.project = project
        self.path = path

    @cached_property
    def jobs(self) -> list[DeclaredJob]:
        """Every job, those of called workflows in place of the job that calls them."""
        workflow = self._load(self.path)
        return list(self._jobs(workflow, prefix="", above=_pattern(workflow.get("name", Path(self.path).name))))

    @cached_property
    def pins(self) -> set[str]:
        """Every action from elsewhere that may run, with its version."""
        return set(self._pins(self._load(self.path)))

    def _jobs(self, workflow: dict[str, Any], prefix: str, above: str) -> Iterator[DeclaredJob]:
        for id_, job in workflow["jobs"].items():
            title = _pattern(job.get("name", id_)) + r"(-\d+)?"
            called = str(job.get("uses", ""))
            if called.startswith("./"):
                yield from self._jobs(self._load(called), prefix=f"{prefix}{id_}/", above=f"{title}/.+")
                continue
            steps = job.get("steps", [])
            yield DeclaredJob(
                name=prefix + id_,
                id=id_,
                label=re.compile(f"{above}/{title}"),
                steps=tuple(map(_step_name, steps)),
                step_ids=tuple(step.get("id", str(index)) for index, step in enumerate(steps)),
                services="services" in job,
            )

    def _pins(self, document: dict[str, Any]) -> Iterator[str]:
        jobs = document.get("jobs", {}).values()
        steps = [step for job in [*jobs, document.get("runs", {})] for step in job.get("steps", [])]
        for used in [str(part["uses"]) for part in [*jobs, *steps] if "uses" in part]:
            if used.startswith("./"):
                yield from self._pins(self._load(used))
            else:
                yield used

    def _load(self, path: str) -> dict[str, Any]:
        found = self.project / path
        file = found / "action.yml" if found.is_dir() else found
        loaded: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        return loaded


def declared(workflow: Path) -> dict[str, list[str]]:
    """Return the steps of each job that a workflow file of a project declares."""
    project = workflow.parents[2]
    return {job.name: list(job.steps) for job in WorkflowFile(project, str(workflow.relative_to(project))).jobs}


def _pattern(text: object) -> str:
    """A regular expression for a text whose expressions have been replaced by their values."""
    return ".*".join(map(re.escape, re.split(r"\$\{\{.*?\}\}", str(text))))


def _step_name(step: dict[str, Any]) -> str:
    """A step's name; without one, its action without the version, or the first line it runs."""
    return str(step.get("name") or str(step.get("uses", "")).partition("@")[0] or step["run"].splitlines()[0])


# What act says.


def _lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def _text(lines: list[dict[str, Any]]) -> str:
    return "".join(f"[{line.get('job', '').strip()}] {str(line.get('msg', '')).rstrip()}\n" for line in lines)


def _read(output: str, file: WorkflowFile, artifacts: Path) -> WorkflowRun:
    lines = _lines(output)
    jobs: dict[str, Job] = {}
    for job in file.jobs:
        its = [line for line in lines if line.get("jobID") == job.id and job.label.fullmatch(line["job"].strip())]
        for values in sorted({_values(line) for line in its}) or [""]:
            jobs[job.name + values] = _job(job.name + values, job, [line for line in its if _values(line) == values])
    summary = "".join(line["content"] for line in lines if line.get("command") == "summary")
    return WorkflowRun(jobs, _text(lines), summary, artifacts)


def _values(line: dict[str, Any]) -> str:
    """The job's place in a matrix, in the order of the keys' names."""
    values = line.get("matrix", {}).values()
    return f" ({', '.join(map(str, values))})" if values else ""


def _job(name: str, job: DeclaredJob, lines: list[dict[str, Any]]) -> Job:
    """Act says nothing at all about a job or a step that it passes over."""
    ends = [line["jobResult"] for line in lines if "jobResult" in line]
    result = ends[-1] if ends else "failure" if lines else "skipped"
    # Longer identifiers are those of steps inside a composite action; other stages are its preparation and cleaning.
    mine = [line for line in lines if line.get("stage") == "Main" and len(line.get("stepID", [])) == 1]
    results = {line["stepID"][0]: line["stepResult"] for line in mine if "stepResult" in line}
    steps = tuple(Step(step, results.get(id_, "skipped")) for step, id_ in zip(job.steps, job.step_ids, strict=True))
    return Job(name, result, steps, _text(lines))


def _instances(run: WorkflowRun, job: str) -> set[str]:
    """The job's names in the run: one, or one for each place in its matrix."""
    return {name for name in run.jobs if name == job or name.startswith(f"{job} (")}
