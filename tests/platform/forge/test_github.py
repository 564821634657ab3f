"""Proposals on a GitHub that answers as the real one does: sent again, declined, built upon, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from forge import TOKEN, Forge
from forge import forge as served
from hub import Hub
from slipway.base.errors import MlopsError
from slipway.forge import git, proposals
from slipway.forge.github import GitHub
from slipway.settings.project import Project
from slipway.workspace import setup

REPOSITORY = "acme/flights"
TEMPLATE = Path(__file__).parents[3] / "template"
CHECKS = "on: {pull_request: , workflow_dispatch: }\njobs: {}\n"
RULE = {
    "name": "main",
    "enforcement": "active",
    "rules": [{"type": "pull_request", "parameters": {"dismiss_stale_reviews_on_push": True}}],
}


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    """A private repository, as seen by a job: a question without its token gets no answer."""
    (tmp_path / "forge").mkdir()
    with served(tmp_path / "forge") as forge:
        forge.is_private = True
        for name, value in (forge.env | {"GITHUB_REPOSITORY": REPOSITORY, "GITHUB_TOKEN": TOKEN}).items():
            monkeypatch.setenv(name, value)
        yield forge


@pytest.fixture
def hub(there: Forge) -> Hub:
    there.create(REPOSITORY)
    return there.hubs[REPOSITORY]


@pytest.fixture
def project(there: Forge, hub: Hub, tmp_path: Path) -> Project:
    """A clone whose origin is the repository, with one commit on its default branch."""
    root = tmp_path / "project"
    root.mkdir()
    git.git(root, "init", "--quiet", f"--initial-branch={hub.branch}")
    git.git(root, "remote", "add", "origin", f"{there.address}/{REPOSITORY}")
    write(root, ".github/workflows/pull-request.yml", CHECKS)
    send(root, hub, "Start")
    return Project(root)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text, encoding="utf-8")


def send(root: Path, hub: Hub, message: str) -> None:
    """Commit everything, and bring it to the forge past its rules."""
    git.git(root, "add", "--all")
    git.git(root, "commit", "--quiet", "--allow-empty", "-m", message)
    git.git(root, "push", "--quiet", str(hub.path), "HEAD")


def triggers(workflow: str) -> str:
    """When a project's workflow starts, as its file says."""
    text = (TEMPLATE / ".github" / "workflows" / f"{workflow}.jinja").read_text("utf-8")
    return text.removeprefix("{% raw %}").partition("jobs:")[0]


def propose(project: Project, text: str, *, replace: bool = True) -> str:
    """One more job that proposes something: it knows of earlier ones what origin knows."""
    if git.git(project.root, "branch", "--list", "change/one"):
        git.git(project.root, "branch", "--quiet", "-D", "change/one")
    change, title = {"one.txt": text}, "a change is proposed"
    return proposals.propose(
        project, "change/one", change, f"Change one\n\nTo {text}.", title=title, next_step="read it", replace=replace
    ).send(project)


def test_a_proposal_made_again_refreshes_the_open_pull_request_and_its_checks(project: Project, hub: Hub) -> None:
    first = propose(project, "one")
    hub.rulesets.append(RULE)
    hub.pulls[0].approvals.add("grace")

    again = propose(project, "two")

    (pull,) = hub.pulls
    assert first == again == "pull request: https://github.example/acme/flights/pull/1"
    assert (pull.title, pull.body, pull.base, pull.sha) == ("Change one", "To two.", "main", hub.heads()["change/one"])
    assert pull.approvals == set()
    assert [run.sha for run in hub.runs][-1] == pull.sha
    assert len(hub.runs) == 2


def test_a_proposal_that_is_there_like_this_keeps_its_approvals(project: Project, hub: Hub) -> None:
    propose(project, "one")
    before = hub.heads()
    hub.rulesets.append(RULE)
    hub.pulls[0].approvals.add("grace")

    again = propose(project, "one")

    assert again == "pull request: https://github.example/acme/flights/pull/1, which is open already"
    assert hub.heads() == before
    assert hub.pulls[0].approvals == {"grace"}
    assert len(hub.runs) == 1


@pytest.mark.parametrize("replace", [True, False])
def test_a_declined_proposal_is_not_opened_once_more(project: Project, hub: Hub, replace: bool) -> None:
    propose(project, "one", replace=replace)
    hub.pulls[0].state = "closed"

    again = propose(project, "one", replace=replace)

    assert again.startswith("https://github.example/acme/flights/pull/1 proposed this and was closed: ")
    assert len(hub.pulls) == 1


def test_a_branch_without_a_pull_request_gets_one_as_soon_as_that_is_allowed(
    project: Project, there: Forge, hub: Hub
) -> None:
    there.refuses["/pulls"] = "GitHub Actions is not permitted to create or approve pull requests."
    refused = propose(project, "one", replace=False)
    there.refuses.clear()

    allowed = propose(project, "two", replace=False)

    assert "not permitted to create or approve pull requests.; open the pull request by hand" in refused
    assert allowed == "pull request: https://github.example/acme/flights/pull/1"
    assert hub.pulls[0].body == "To one."


def test_what_a_colleague_added_to_a_proposal_is_not_dropped(project: Project, hub: Hub) -> None:
    propose(project, "one")
    git.git(project.root, "switch", "--quiet", "change/one")
    send(project.root, hub, "Mend what the proposal forgot")
    git.git(project.root, "switch", "--quiet", "main")
    before = hub.heads()

    with pytest.raises(MlopsError, match=r"holds commits that this would drop, the last of them .* “Mend what"):
        propose(project, "two")

    assert hub.heads() == before


def test_a_proposal_that_was_brought_up_to_date_with_main_is_refreshed(project: Project, hub: Hub) -> None:
    propose(project, "one")
    write(project.root, "two.txt", "two")
    send(project.root, hub, "Go on")
    git.git(project.root, "switch", "--quiet", "change/one")
    git.git(project.root, "merge", "--quiet", "--no-edit", "main")
    git.git(project.root, "push", "--quiet", str(hub.path), "HEAD")
    git.git(project.root, "switch", "--quiet", "main")

    propose(project, "two")

    assert git.git(hub.path, "show", "change/one:one.txt") == "two"


def test_checks_that_cannot_be_started_are_told_beside_the_pull_request(
    project: Project, there: Forge, hub: Hub
) -> None:
    there.refuses["/dispatches"] = "Resource not accessible by integration"

    told = propose(project, "one")

    assert told == (
        "pull request: https://github.example/acme/flights/pull/1, but GitHub answered 403 Resource not accessible "
        "by integration; start pull-request.yml on change/one by hand"
    )
    assert len(hub.pulls) == 1


def test_the_reason_of_a_422_is_told(project: Project, there: Forge, hub: Hub) -> None:
    git.git(project.root, "branch", "empty")

    told = GitHub(project).propose("empty")

    assert "GitHub answered 422 Validation Failed: No commits between main and empty" in told


def test_a_proposal_goes_to_the_branch_that_the_repository_shows_first(there: Forge, tmp_path: Path) -> None:
    there.create(REPOSITORY, "trunk")
    hub = there.hubs[REPOSITORY]
    root = tmp_path / "project"
    root.mkdir()
    git.git(root, "init", "--quiet", "--initial-branch=trunk")
    git.git(root, "remote", "add", "origin", f"{there.address}/{REPOSITORY}")
    write(root, ".github/workflows/pull-request.yml", CHECKS)
    send(root, hub, "Start")

    propose(Project(root), "one")

    assert [(pull.base, pull.state) for pull in hub.pulls] == [("trunk", "open")]


@pytest.mark.parametrize(("branch", "told"), [("trunk", 0), ("develop", 2)])
def test_setup_tells_of_workflows_that_a_merge_would_not_start(
    there: Forge, tmp_path: Path, branch: str, told: int
) -> None:
    there.create(REPOSITORY, branch)
    root = tmp_path / "project"
    root.mkdir()
    git.git(root, "init", "--quiet", f"--initial-branch={branch}")
    git.git(root, "remote", "add", "origin", f"{there.address}/{REPOSITORY}")
    for name in ("train.yml", "deploy.yml"):
        write(root, f".github/workflows/{name}", triggers(name))
    send(root, there.hubs[REPOSITORY], "Start")

    lines = list(setup.unheard(root))

    assert len(lines) == told
    assert all(line.endswith("add develop to its `branches`") for line in lines)


def test_a_merge_queue_starts_the_checks_and_merges_what_is_green(project: Project, hub: Hub) -> None:
    write(project.root, ".github/workflows/pull-request.yml", triggers("pull-request.yml"))
    send(project.root, hub, "Check what is proposed")
    propose(project, "one")
    checks = {"type": "required_status_checks", "parameters": {"required_status_checks": [{"context": "Check"}]}}
    hub.rulesets.append(RULE | {"rules": [checks]})

    commit = hub.queue(1)

    assert commit is not None
    assert hub.leave_queue(1, commit) == ['Required status check "Check" is expected.']
    hub.report(commit, Check="success")
    assert hub.leave_queue(1, commit) == []
    assert hub.heads()["main"] == commit


def test_what_a_protected_branch_refuses_becomes_a_proposal(project: Project, hub: Hub) -> None:
    hub.answer("POST", "/rulesets", "", RULE, "ada")
    git.git(project.root, "commit", "--quiet", "--allow-empty", "-m", "Roll back")

    told = GitHub(project).publish("rollback/one")

    assert "Changes must be made through a pull request." in told
    assert told.endswith("pull request: https://github.example/acme/flights/pull/1")
    assert hub.pulls[0].head == "rollback/one"


def test_a_change_of_workflows_needs_a_persons_token(
    project: Project, there: Forge, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {".github/workflows/pull-request.yml": CHECKS + "# newer\n"}
    proposal = proposals.propose(project, "template/new", change, "Update", title="new", next_step="read it")

    with pytest.raises(MlopsError, match="without workflows permission") as refused:
        proposal.send(project)
    monkeypatch.setenv("GITHUB_TOKEN", there.token_of("ada"))

    assert refused.value.next_step.startswith("set the secret TEMPLATE_TOKEN")
    assert proposal.send(project) == "pull request: https://github.example/acme/flights/pull/1"
    assert hub.pulls[0].user == "ada"


@pytest.mark.parametrize(
    ("owner", "found"),
    [("@acme", ["CODEOWNERS: Unknown owner: @acme"]), ("@acme/science", []), ("@ada", [])],
)
def test_an_owner_whom_github_does_not_know_is_told(project: Project, hub: Hub, owner: str, found: list[str]) -> None:
    """The name of an organisation is neither a person nor a team."""
    hub.teams["acme/science"] = {"grace"}
    write(project.root, ".github/CODEOWNERS", f"* {owner}\n")
    write(project.root, ".github/rules.json", "[]")
    send(project.root, hub, "Name an owner")

    assert GitHub(project).broken_rules() == [f".github/{line}" for line in found]


def test_rules_that_nobody_could_follow_are_told(project: Project, hub: Hub) -> None:
    rule = RULE | {"rules": [{"type": "pull_request", "parameters": {"required_approving_review_count": 1}}]}
    write(project.root, ".github/rules.json", json.dumps([rule]))
    applied = GitHub(project).apply_rules()
    several = GitHub(project).broken_rules()

    hub.people = {"ada"}

    assert (applied, several) == (["added the rule main"], [])
    (line,) = GitHub(project).broken_rules()
    assert line == (
        "the rule main asks for an approval, and only ada may write here, who cannot approve their own changes: "
        "mlops template update --answer reviewers=nobody"
    )
