"""What the platform tells GitHub: outputs and summaries of a job, proposals, branch rules.

Outside of a workflow, `output` and `summarize` do nothing, and a proposal is a branch. Where GitHub's
interface cannot be reached or says no, the branch is there all the same, and the reason is said.
"""

from __future__ import annotations

import json
import os
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from slipway.base.errors import MlopsError
from slipway.forge import git
from slipway.settings.project import Project

RULES = ".github/rules.json"
CHECKS = "pull-request.yml"
TIMEOUT_S = 20
#: GitHub takes no longer text for a pull request.
LONGEST = 60_000


@dataclass(frozen=True)
class GitHub:
    """The forge of a project that GitHub hosts, or that nobody hosts yet."""

    project: Project

    @property
    def rules_file(self) -> str:
        """The file of the project that holds the branch rules as they should be."""
        return RULES

    def output(self, **values: str | bool) -> None:
        """Hand values to later jobs of a workflow."""
        for key, value in values.items():
            text = str(value).lower() if isinstance(value, bool) else value
            # The form for texts of several lines; the end mark cannot be guessed by what is written.
            mark = secrets.token_hex(16)
            _append("GITHUB_OUTPUT", f"{key}<<{mark}\n{text}\n{mark}\n")

    def summarize(self, markdown: str) -> None:
        """Add to the page that GitHub shows for a run of a workflow."""
        # The empty line ends a table, so that the next one is one of its own.
        _append("GITHUB_STEP_SUMMARY", markdown + "\n\n")

    def propose(self, branch: str, *, replace: bool = True) -> str:
        """Send a branch to origin and open a pull request for it, or refresh the one that is open; returns a sentence.

        Without `replace`, a branch that origin has already is left as it is: it may hold a colleague's work. What
        origin has exactly like this is not sent again, as that would dismiss the approvals it has.
        """
        root = self.project.root
        if not git.has_origin(root):
            return f"compare it: git diff {git.default_branch(root)}...{branch}"
        there = git.fetched(root, branch)
        sends = there is None or (replace and git.tree_of(root, there) != git.tree_of(root, branch))
        if sends:
            _require_nothing_lost(root, branch, there)
            git.push(root, branch, over=there or "")
        if not self.is_connected:
            return f"the branch {branch} is on origin{'' if sends else ' already'}: open a pull request for it there"
        told = self._pull_request(branch, branch if sends else str(there), sends=sends)
        self.summarize(told)
        return told

    def _pull_request(self, branch: str, commit: str, *, sends: bool) -> str:
        repository, base = _repository(), git.default_branch(self.project.root)
        page = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}/compare/{base}...{branch}"
        title, _, body = git.git(self.project.root, "log", "-1", "--format=%s%n%b", commit).partition("\n")
        text = {"title": title, "body": body.strip()[:LONGEST]}
        try:
            pull = _pull_of(repository, branch)
            if pull and pull["state"] != "open" and not sends:
                ended = "merged" if pull.get("merged_at") else "closed"
                return f"{pull['html_url']} proposed this and was {ended}: to propose it once more, reopen it there"
            if pull is None or pull["state"] != "open":
                pull = _ask("POST", f"/repos/{repository}/pulls", text | {"head": branch, "base": base})
            elif sends:
                _ask("PATCH", f"/repos/{repository}/pulls/{pull['number']}", text)
            else:
                return f"pull request: {pull['html_url']}, which is open already"
        except _RefusedError as no:
            return f"the branch {branch} is on origin, but {no}; open the pull request by hand: {page}"
        try:
            # What a workflow's own token opens or sends starts no workflow, so the checks are started by name.
            _ask("POST", f"/repos/{repository}/actions/workflows/{CHECKS}/dispatches", {"ref": branch})
        except _RefusedError as no:
            return f"pull request: {pull['html_url']}, but {no}; start {CHECKS} on {branch} by hand"
        return f"pull request: {pull['html_url']}"

    @property
    def is_connected(self) -> bool:
        """Whether this is a job of a workflow, or somebody who has a token: GitHub can be asked to do something."""
        return bool(os.environ.get("GITHUB_REPOSITORY") and os.environ.get("GITHUB_TOKEN"))

    def start(self, workflow: str, branch: str) -> str:
        """Start a workflow by name; returns what was done."""
        _require("POST", f"/repos/{_repository()}/actions/workflows/{workflow}/dispatches", {"ref": branch})
        return f"asked GitHub to run {workflow} on {branch}"

    def publish(self, otherwise: str) -> str:
        """Send the current branch to origin; where its rules refuse that, propose it as the branch `otherwise`."""
        branch = git.require_branch(self.project.root)
        try:
            git.push(self.project.root, branch)
        except MlopsError as refused:
            git.git(self.project.root, "branch", "--force", otherwise, "HEAD")
            return f"{refused.problem}; {self.propose(otherwise)}"
        return f"sent to origin, branch {branch}"

    def apply_rules(self) -> list[str]:
        """Make the repository's branch rules those of `.github/rules.json`; return what was changed."""
        wanted, there = _rules(self.project), _rules_there()
        changed = []
        for name, rule in wanted.items():
            if name not in there:
                _require("POST", f"/repos/{_repository()}/rulesets", rule)
                changed.append(f"added the rule {name}")
            elif _differences(rule, there[name]):
                _require("PUT", f"/repos/{_repository()}/rulesets/{there[name]['id']}", rule)
                changed.append(f"changed the rule {name}")
        return changed

    def broken_rules(self) -> list[str]:
        """Say where the repository's branch rules are not those of `.github/rules.json`, or cannot be followed."""
        wanted, there = _rules(self.project), _rules_there()
        found = [f"the rule {name} is not there" for name in wanted if name not in there]
        for name, rule in wanted.items():
            if name in there:
                found += [f"the rule {name} has another {key}" for key in _differences(rule, there[name])]
        return found + _unknown_owners() + [line for name, rule in wanted.items() for line in _alone(name, rule)]


def _require_nothing_lost(root: Path, branch: str, there: str | None) -> None:
    """Refuse to replace a branch of origin on which somebody has built: more than the one commit of a proposal."""
    lost = git.only_at(root, there, branch, kept=branch) if there else []
    if len(lost) > 1:
        last = git.git(root, "log", "-1", "--format=%h “%s” by %an", lost[0]).strip()
        raise MlopsError(
            f"origin's branch {branch} holds commits that this would drop, the last of them {last}",
            f"merge or delete {branch} there, then run this again",
        )


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def _rules(project: Project) -> dict[str, dict[str, Any]]:
    rules = json.loads((project.root / RULES).read_text("utf-8"))
    return {rule["name"]: rule for rule in rules}


def _rules_there() -> dict[str, dict[str, Any]]:
    # An organisation's own rules are not the repository's to change.
    listed = _require("GET", f"/repos/{_repository()}/rulesets?includes_parents=false&per_page=100")
    return {one["name"]: _require("GET", f"/repos/{_repository()}/rulesets/{one['id']}") for one in listed}


def _unknown_owners() -> list[str]:
    """What GitHub has to say of CODEOWNERS: it asks nobody where it does not know an owner."""
    try:
        found = _ask("GET", f"/repos/{_repository()}/codeowners/errors")["errors"]
    except _RefusedError as no:
        return [] if no.status == 404 else [f"CODEOWNERS could not be looked at: {no}"]
    return [f"{one['path']}: {' '.join(str(one['message']).split())}" for one in found]


def _alone(name: str, rule: dict[str, Any]) -> list[str]:
    """Whether a rule asks for the approval of somebody else, and there is nobody else."""
    asked = [one.get("parameters", {}).get("required_approving_review_count", 0) for one in rule["rules"]]
    if not any(asked):
        return []
    try:
        people = _ask("GET", f"/repos/{_repository()}/collaborators?permission=push&per_page=2")
    except _RefusedError as no:
        return [f"whether anybody could approve could not be looked at: {no}"]
    if len(people) > 1:
        return []
    return [
        f"the rule {name} asks for an approval, and only {people[0]['login']} may write here, who cannot approve "
        "their own changes: mlops template update --answer reviewers=nobody"
    ]


def _differences(wanted: dict[str, Any], there: dict[str, Any]) -> list[str]:
    return [key for key, value in wanted.items() if not _covers(there.get(key), value)]


def _covers(there: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there; GitHub adds fields of its own."""
    if isinstance(wanted, dict):
        return isinstance(there, dict) and all(_covers(there.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(there, list) and len(there) == len(wanted) and all(
            any(_covers(other, one) for other in there) for one in wanted
        )  # fmt: skip
    return bool(there == wanted)


def _pull_of(repository: str, branch: str) -> dict[str, Any] | None:
    """The pull request of a branch: the one that is open, or else the newest."""
    owner = repository.partition("/")[0]
    found: Any = _ask("GET", f"/repos/{repository}/pulls?state=all&head={owner}:{quote(branch)}")
    return next((one for one in found if one["state"] == "open"), found[0] if found else None)


def _repository() -> str:
    repository = os.environ.get("GITHUB_REPOSITORY")
    if not repository:
        raise MlopsError("nobody said which repository", "set GITHUB_REPOSITORY=owner/name and GITHUB_TOKEN")
    return repository


class _RefusedError(Exception):
    """GitHub's interface was not reached, or refused."""

    def __init__(self, problem: str, status: int = 0) -> None:
        super().__init__(problem)
        self.status = status


def _require(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    try:
        return _ask(method, path, body)
    except _RefusedError as no:
        raise MlopsError(f"{no}, so this was not done: {method} {path}", "see the rights of the token") from None


def _ask(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    address = os.environ.get("GITHUB_API_URL", "https://api.github.com") + path
    headers = {"Authorization": f"Bearer {os.environ.get('GITHUB_TOKEN', '')}", "Accept": "application/vnd.github+json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, method=method, headers=headers, data=content)  # noqa: S310 - https or a test's own
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        raise _RefusedError(f"GitHub answered {error.code} {_message(error)}", error.code) from error
    except (OSError, ValueError) as error:
        raise _RefusedError(f"GitHub's interface did not answer ({error})") from error


def _message(error: urllib.error.HTTPError) -> str:
    """What GitHub said; the reason of a 422 stands beside its message."""
    try:
        said = json.loads(error.read())
    except ValueError:
        return error.reason
    details = [
        one if isinstance(one, str) else one.get("message") or f"{one.get('field')} is {one.get('code')}"
        for one in said.get("errors", [])
    ]
    return ": ".join([str(said.get("message", error.reason)), *[", ".join(details)][: len(details)]])
