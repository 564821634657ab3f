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

from slipway.base.errors import MlopsError
from slipway.forge import git
from slipway.settings.project import Project

RULES = ".github/rules.json"
CHECKS = "pull-request.yml"
TIMEOUT_S = 20


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
        """Send a branch to origin and open a pull request for it; return one sentence on what came of it.

        Without `replace`, a branch that origin has already is left as it is: it may hold a colleague's work.
        """
        if "origin" not in git.git(self.project.root, "remote").split():
            return f"compare it: git diff main...{branch}"
        if not replace and git.is_at_origin(self.project.root, branch):
            return f"the branch {branch} is on origin already and is left as it is"
        git.push(self.project.root, branch)
        if not self.is_connected:
            return f"the branch {branch} is on origin: open a pull request for it there"
        repository = _repository()
        title = git.git(self.project.root, "log", "-1", "--format=%s", branch).strip()
        base = os.environ.get("GITHUB_BASE_BRANCH", "main")
        page = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{repository}/compare/{base}...{branch}"
        try:
            made = _ask("POST", f"/repos/{repository}/pulls", {"title": title, "head": branch, "base": base})
            # What a workflow's own token opens starts no workflow, so the checks are started by name.
            _ask("POST", f"/repos/{repository}/actions/workflows/{CHECKS}/dispatches", {"ref": branch})
        except _RefusedError as no:
            return f"the branch {branch} is on origin, but {no}; open the pull request by hand: {page}"
        return f"pull request: {made.get('html_url', page)}"

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
            git.push(self.project.root, branch, force=False)
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
        """Say where the repository's branch rules are not those of `.github/rules.json`."""
        wanted, there = _rules(self.project), _rules_there()
        found = [f"the rule {name} is not there" for name in wanted if name not in there]
        for name, rule in wanted.items():
            if name in there:
                found += [f"the rule {name} has another {key}" for key in _differences(rule, there[name])]
        return found


def _append(variable: str, text: str) -> None:
    path = os.environ.get(variable)
    if path:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def _rules(project: Project) -> dict[str, dict[str, Any]]:
    rules = json.loads((project.root / RULES).read_text("utf-8"))
    return {rule["name"]: rule for rule in rules}


def _rules_there() -> dict[str, dict[str, Any]]:
    listed: Any = _require("GET", f"/repos/{_repository()}/rulesets")
    return {one["name"]: _require("GET", f"/repos/{_repository()}/rulesets/{one['id']}") for one in listed}


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


def _repository() -> str:
    repository = os.environ.get("GITHUB_REPOSITORY")
    if not repository:
        raise MlopsError("nobody said which repository", "set GITHUB_REPOSITORY=owner/name and GITHUB_TOKEN")
    return repository


class _RefusedError(Exception):
    """GitHub's interface was not reached, or refused."""


def _require(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    try:
        return _ask(method, path, body)
    except _RefusedError as no:
        raise MlopsError(f"{no}, so this was not done: {method} {path}", "see the rights of the token") from None


def _ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    address = os.environ.get("GITHUB_API_URL", "https://api.github.com") + path
    headers = {"Authorization": f"Bearer {os.environ.get('GITHUB_TOKEN', '')}", "Accept": "application/vnd.github+json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, method=method, headers=headers, data=content)  # noqa: S310 - https or a test's own
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
            said: dict[str, Any] = json.loads(answer.read() or b"{}")
            return said
    except urllib.error.HTTPError as error:
        raise _RefusedError(f"GitHub answered {error.code} {_message(error)}") from error
    except (OSError, ValueError) as error:
        raise _RefusedError(f"GitHub's interface did not answer ({error})") from error


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read()).get("message", ""))
    except ValueError:
        return error.reason
