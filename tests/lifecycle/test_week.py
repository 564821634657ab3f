"""A week of a team on a forge that answers as GitHub does: what goes wrong there goes wrong here, and is told.

Jobs are played by their commands, each in a clone of its own that is thrown away. What starts a job is read from the
project's workflows; a pull request is merged when the rules of `.github/rules.json` allow it.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from advisories import GHSA, database
from forge import TOKEN, Forge, forge
from hub import BOT, Hub, Pull
from rendering import Template, git
from running import Result, RunningProject

REPOSITORY = "acme/flight-delays"
CHECKS = {"Check": "success", "Pipeline": "success"}
FREEZE = {"name": "freeze", "enforcement": "active", "rules": [{"type": "update"}]}


@dataclass
class Week:
    """The team's laptop, its forge, the machine that serves, and a note of every run that was red."""

    project: RunningProject
    folder: Path
    forge: Forge
    red: dict[str, str] = field(default_factory=dict)
    jobs: int = 0

    @property
    def hub(self) -> Hub:
        """The repository on the forge."""
        return self.forge.hubs[REPOSITORY]

    def mlops(
        self, root: Path, *arguments: str, token: str = TOKEN, red: str = "", env: dict[str, str] | None = None
    ) -> Result:
        """Run a command as a job does; one that shall be red has a name, under which its complaint is noted."""
        bin_ = self.project.root / ".venv" / "bin"
        job = self.forge.env | {"GITHUB_REPOSITORY": REPOSITORY, "GITHUB_TOKEN": token, "CI": "true"}
        job |= {"MLFLOW_TRACKING_URI": f"sqlite:///{self.project.root}/.mlops/mlflow.db"}
        job |= {"MLOPS_STATE": str(self.folder / "machine"), "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            [bin_ / "mlops", *arguments], cwd=root, env=os.environ | job | (env or {}), timeout=300,
            capture_output=True, text=True, encoding="utf-8", check=False,
        )  # fmt: skip
        assert bool(done.returncode) == bool(red), f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        if red:
            self.red[red] = done.stdout + done.stderr
        return Result(done.returncode, done.stdout, done.stderr)

    def clone(self, commit: str, branch: str = "main") -> Path:
        """What a job checks out: one commit, and what origin has."""
        self.jobs += 1
        root = self.folder / f"job-{self.jobs}"
        git(self.folder, "clone", "--quiet", str(self.hub.path), str(root))
        git(root, "remote", "set-url", "origin", f"{self.forge.address}/{REPOSITORY}")
        git(root, "switch", "--quiet", "--force-create", branch, commit)
        return root

    def main(self) -> str:
        """The newest commit of main."""
        return self.hub.heads()["main"]

    def push(self, branch: str, message: str, path: str, text: str) -> None:
        """Let ada change a file on a branch of hers."""
        root = self.clone(self.main(), branch)
        (root / path).write_text(text, encoding="utf-8")
        git(root, "add", path)
        git(root, "commit", "--quiet", "--no-verify", "-m", message)
        self.send(root, branch)

    def send(self, root: Path, branch: str) -> None:
        """Send a branch as ada does."""
        before = self.hub.heads()
        git(root, "push", "--quiet", str(self.hub.path), branch)
        self.hub.pushed(before, "ada")

    def ask(self, method: str, path: str, login: str, **body: str) -> tuple[int, Any]:
        """Call the forge's interface."""
        return self.forge.answer(method, f"/repos/{REPOSITORY}{path}", body, login)

    def opened(self, branch: str) -> Pull:
        """The only open pull request of a branch."""
        self.ask("GET", "/pulls", "ada")
        (found,) = [pull for pull in self.hub.pulls if pull.head == branch and pull.state == "open"]
        return found

    def accept(self, branch: str) -> None:
        """Let the checks that were started end well, grace approve, and ada merge."""
        pull = self.opened(branch)
        self.check(pull)
        self.ask("POST", f"/pulls/{pull.number}/reviews", "grace", event="APPROVE")
        status, said = self.ask("PUT", f"/pulls/{pull.number}/merge", "ada")
        assert status == 200, said

    def check(self, pull: Pull) -> None:
        """End the checks of a pull request's newest commit, which must have been started."""
        assert ("pull-request.yml", pull.sha) in [(run.workflow, run.sha) for run in self.hub.runs]
        self.hub.report(pull.sha, **CHECKS)

    def started_on_main(self) -> list[str]:
        """The workflows that the newest commit of main has started."""
        return [run.workflow for run in self.hub.runs if (run.event, run.sha) == ("push", self.main())]

    def deploy(self, commit: str, *environments: str, red: str = "") -> None:
        """The jobs of Deploy at a commit."""
        root = self.clone(commit)
        for name in environments or ("staging", "production"):
            self.mlops(root, "deploy", name, red=red)

    def runs(self, environment: str) -> int:
        """The version that answers."""
        version: int = self.project.request("GET", "/version", environment=environment).body["version"]
        return version

    def says(self, environment: str) -> int:
        """The version that main names."""
        text = self.forge.git(REPOSITORY, "show", f"main:deploy/environments/{environment}.yaml")
        version: int = yaml.safe_load(text)["champion"]["version"]
        return version


@pytest.fixture
def week(trained_project: RunningProject, template: Template, tmp_path: Path) -> Iterator[Week]:
    """Version 1 runs everywhere, main is changed by review, and the template is one of which a newer version comes."""
    for name in ("forge", "template"):
        (tmp_path / name).mkdir()
    shutil.copytree(template.path, tmp_path / "template", dirs_exist_ok=True)
    root = trained_project.root
    answers = root / ".copier-answers.yml"
    newer = re.sub("_src_path: .*", f"_src_path: {tmp_path / 'template'}", answers.read_text("utf-8"))
    answers.write_text(newer, encoding="utf-8")
    trained_project.edit(".github/rules.json", '_review_count": 0', '_review_count": 1')
    trained_project.edit(".github/rules.json", '_push_approval": false', '_push_approval": true')
    trained_project.commit("Ask for a review")
    with forge(tmp_path / "forge") as there:
        made = Week(trained_project, tmp_path, there)
        for name in ("staging", "production"):
            told = made.mlops(root, "promote", name).stdout
            git(root, "merge", "--quiet", "--no-edit", re.findall(r"in branch (\S+)", told)[0])
            made.mlops(root, "deploy", name)
        there.create(REPOSITORY)
        git(root, "remote", "add", "origin", f"{there.address}/{REPOSITORY}")
        git(root, "push", "--quiet", str(made.hub.path), "main")
        try:
            yield made
        finally:
            for name in ("staging", "production"):
                made.mlops(root, "stop", name)


def train(week: Week, commit: str) -> str:
    """The jobs of Train at a commit; returns what the last of them said."""
    root = week.clone(commit)
    outputs = {"GITHUB_OUTPUT": str(root.with_suffix(".outputs"))}
    week.mlops(root, "pipeline", "--commit")
    week.mlops(root, "register", "--push", env=outputs)
    told = root.with_suffix(".outputs").read_text("utf-8")
    version, branch = re.findall(r"^(?:version|branch)<<\w+\n(.*)$", told, flags=re.MULTILINE)
    candidate = week.clone(week.hub.heads()[branch], branch)
    return week.mlops(candidate, "promote", "staging", "--version", version).stdout


def test_a_week(week: Week) -> None:
    rules = week.mlops(week.project.root, "rules", "--apply", token=week.forge.token_of("ada"))
    assert "the repository's rules are those of .github/rules.json" in rules.stdout

    monday(week)
    tuesday(week)
    wednesday(week)
    thursday(week)
    friday(week)

    # What runs is what main says.
    assert {name: (week.runs(name), week.says(name)) for name in ("staging", "production")} == {
        "staging": (3, 3),
        "production": (1, 1),
    }
    # Nothing was lost: what is named has its commit at the forge and its bundle in the registry.
    root = week.clone(week.main())
    subprocess.run([week.project.root / ".venv" / "bin" / "dvc", "pull", "--quiet"], cwd=root, check=True)
    assert "FAIL" not in week.mlops(root, "audit").stdout
    for name in ("staging", "production"):
        commit = yaml.safe_load((root / f"deploy/environments/{name}.yaml").read_text("utf-8"))["champion"]["commit"]
        assert week.forge.git(REPOSITORY, "branch", "--contains", commit).split()
    assert [version["version"] for version in week.project.versions()] == [1, 2, 3]
    # Every red run names what a person can do.
    assert {name: "next: " in said for name, said in week.red.items()} == dict.fromkeys(
        ("a weakness", "a run again in the freeze", "an update with a job's token", "an old run again"), True
    )


def monday(week: Week) -> None:
    """A change is merged, a runner is lost in the middle, and a weekly training finds last week's proposal open."""
    params = week.forge.git(REPOSITORY, "show", "main:params.yaml")
    week.push("fewer-trees", "Use 20 trees", "params.yaml", re.sub(r"n_estimators: \d+", "n_estimators: 20", params))
    assert week.ask("POST", "/pulls", "ada", title="Use 20 trees", head="fewer-trees", base="main")[0] == 201
    number = week.opened("fewer-trees").number
    week.check(week.opened("fewer-trees"))
    assert week.ask("POST", f"/pulls/{number}/reviews", "ada", event="APPROVE")[0] == 422
    assert week.ask("PUT", f"/pulls/{number}/merge", "ada")[0] == 405
    week.accept("fewer-trees")
    assert week.started_on_main() == ["train.yml"]

    lost = week.clone(week.main())
    week.mlops(lost, "pipeline", "--commit")
    week.mlops(lost, "register")
    shutil.rmtree(lost)
    assert [branch for branch in week.hub.heads() if "/" in branch] == []

    first = train(week, week.main())
    pull = week.opened("promote/staging-v3")
    assert f"pull request: https://github.example/{REPOSITORY}/pull/{pull.number}" in first
    assert (pull.user, pull.title) == (BOT, "Promote version 3 to staging")
    week.check(pull)
    week.ask("POST", f"/pulls/{pull.number}/reviews", "grace", event="APPROVE")
    heads = week.hub.heads()

    again = train(week, week.main())

    assert f"pull/{pull.number}, which is open already" in again
    assert week.hub.heads() == heads
    assert (pull.approvals, pull.state) == ({"grace"}, "open")


def tuesday(week: Week) -> None:
    """The candidate goes to staging and to production; each merge starts what deploys it, and nothing else."""
    week.accept("promote/staging-v3")
    assert week.started_on_main() == ["deploy.yml"]
    week.deploy(week.main())
    assert (week.runs("staging"), week.runs("production")) == (3, 1)

    week.mlops(week.clone(week.main()), "promote", "production", token=week.forge.token_of("grace"))
    week.opened("promote/production-v3").approvals.add("grace")
    pull = week.opened("promote/production-v3")
    assert "At least 1 approving review" in str(week.hub.missing(pull))
    week.check(pull)
    week.ask("POST", f"/pulls/{pull.number}/reviews", "ada", event="APPROVE")
    assert week.ask("PUT", f"/pulls/{pull.number}/merge", "ada")[0] == 200
    week.deploy(week.main(), "production")
    assert week.runs("production") == 3


def wednesday(week: Week) -> None:
    """The monitor proposes every day, once; and a weakness of a dependency holds nobody up."""
    proposed = [week.mlops(week.clone(week.main()), "retrain", "--finding", f"day {day}").stdout for day in (1, 2)]
    pull = week.opened("retrain/2013-12-31")
    assert "asked GitHub to run train.yml on retrain/2013-12-31" in proposed[0]
    assert "which is open already" in proposed[1]
    assert "train.yml" not in proposed[1]
    week.ask("PATCH", f"/pulls/{pull.number}", "ada", state="closed")
    declined = week.mlops(week.clone(week.main()), "retrain", "--finding", "day 3").stdout
    assert "was closed" in declined
    assert [one.head for one in week.hub.pulls].count("retrain/2013-12-31") == 1

    root = week.clone(week.main())
    shutil.copy(week.project.root / "uv.lock", root)
    with database(GHSA) as address:
        week.mlops(root, "advisories", "--database", address, red="a weakness")
    week.push("a-word", "Say it better", "README.md", "# The model\n")
    week.ask("POST", "/pulls", "ada", title="Say it better", head="a-word", base="main")
    week.accept("a-word")
    assert week.started_on_main() == []


def thursday(week: Week) -> None:
    """Production is rolled back while main takes no change; what main still says does not come back."""
    week.hub.answer("POST", "/rulesets", "", FREEZE, "ada")
    told = week.mlops(week.clone(week.main()), "rollback", "production", "--push").stdout
    assert "production answers with version 1" in told
    assert "Changes must be made through a pull request" in told
    pull = week.opened("rollback/production-v1")
    week.check(pull)
    week.ask("POST", f"/pulls/{pull.number}/reviews", "grace", event="APPROVE")
    status, said = week.ask("PUT", f"/pulls/{pull.number}/merge", "ada")
    assert (status, "Cannot update this protected ref." in said["message"]) == (405, True)
    assert (week.runs("production"), week.says("production")) == (1, 3)

    week.deploy(week.main(), "production", red="a run again in the freeze")
    assert "was rolled back from version 3" in week.red["a run again in the freeze"]
    assert week.runs("production") == 1

    week.hub.rulesets[-1]["enforcement"] = "disabled"
    assert week.ask("PUT", f"/pulls/{pull.number}/merge", "ada")[0] == 200
    assert week.started_on_main() == ["deploy.yml"]
    week.deploy(week.main())
    assert (week.runs("production"), week.says("production")) == (1, 1)


def friday(week: Week) -> None:
    """Two people merge at once, the template has a newer version, and somebody runs an old run again."""
    for person, text in (("one", "# One\n"), ("two", "# Two\n")):
        week.push(person, f"Write {person}", f"docs/{person}.md" if person == "two" else "README.md", text)
        week.ask("POST", "/pulls", "ada", title=f"Write {person}", head=person, base="main")
    second = week.opened("two")
    week.check(second)
    second.approvals.add("grace")
    week.accept("one")
    status, said = week.ask("PUT", f"/pulls/{second.number}/merge", "ada")
    assert (status, "must be up to date" in said["message"]) == (405, True)
    group = week.hub.queue(second.number)
    assert group is not None
    assert week.hub.leave_queue(second.number, group) == [
        'Required status check "Check" is expected.',
        'Required status check "Pipeline" is expected.',
    ]
    week.hub.report(group, **CHECKS)
    assert week.hub.leave_queue(second.number, group) == []
    assert week.forge.git(REPOSITORY, "show", "main:README.md") == "# One\n"

    Template(week.folder / "template", "").release("v9.0.0", change_a_workflow)
    week.mlops(week.clone(week.main()), "template", "update", red="an update with a job's token")
    assert "without workflows permission" in week.red["an update with a job's token"]
    for told in ("pull request: ", "which is open already"):
        root = week.clone(week.main())
        assert told in week.mlops(root, "template", "update", token=week.forge.token_of("ada")).stdout
    assert week.opened("template/v9.0.0").body.startswith("## [9.0.0]")
    week.accept("template/v9.0.0")

    named = [run for run in week.hub.runs if run.workflow == "deploy.yml"]
    old = named[1]  # of Tuesday, with which version 3 went to production
    assert week.ask("POST", f"/actions/runs/{old.number}/rerun", "ada")[0] == 201
    again = week.hub.runs[-1]
    assert (again.sha, again.attempt) == (old.sha, 2)
    week.deploy(again.sha, "production", red="an old run again")
    assert "production was rolled back from version 3" in week.red["an old run again"]


def change_a_workflow(template: Path) -> None:
    workflow = template / "template" / ".github" / "workflows" / "train.yml.jinja"
    workflow.write_text(workflow.read_text("utf-8").replace("17 4 * * 1", "17 5 * * 1"), encoding="utf-8")
    news = template / "CHANGELOG.md"
    text = news.read_text("utf-8")
    news.write_text(text.replace("## [", "## [9.0.0]\n\n- Train an hour later.\n\n## [", 1), encoding="utf-8")
