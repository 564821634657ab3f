"""What GitHub knows of a repository besides its commits: pull requests, reviews, checks, rules, runs of workflows.

It answers as GitHub does where a project can tell the difference: what is refused there is refused here, with the same
status. Who acts is a login; `BOT` is a workflow's own token, whose pushes and pull requests start nothing.
"""

import fnmatch
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import yaml
from pathspec import GitIgnoreSpec
from rendering import git

BOT = "github-actions[bot]"
ZERO = "0" * 40
Answer = tuple[int, Any]
Query = dict[str, list[str]]

#: What the server says to a push, before it takes it. `REMOTE_USER` is set for who comes over HTTP.
HOOK = f"""#!/bin/sh
test -n "$REMOTE_USER" || exit 0
if test "$1" = "$(cat protected 2>/dev/null)"; then
    echo "error: GH013: Repository rule violations found for $1." >&2
    echo "- Changes must be made through a pull request." >&2
    exit 1
fi
test "$3" != {ZERO} && test "$REMOTE_USER" = "{BOT}" || exit 0
known=$(git for-each-ref --format="^%(objectname)" refs/heads)
for file in $(git log --first-parent --format= --name-only "$3" $known -- .github/workflows); do
    echo "refusing to allow a GitHub App to create or update workflow $file without workflows permission" >&2
    exit 1
done
"""


@dataclass
class Pull:
    """A pull request."""

    number: int
    title: str
    body: str
    head: str
    base: str
    user: str
    sha: str
    state: str = "open"
    merged: bool = False
    pusher: str = ""
    approvals: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Run:
    """A run of a workflow that an event, or a person, has started; nobody has worked on it yet."""

    number: int
    workflow: str
    event: str
    branch: str
    sha: str
    attempt: int = 1


@dataclass
class Hub:
    """One repository. `people` may push, `teams` have members; nobody else is known as an owner of code."""

    name: str
    path: Path
    branch: str = "main"
    people: set[str] = field(default_factory=lambda: {"ada", "grace"})
    teams: dict[str, set[str]] = field(default_factory=dict)
    pulls: list[Pull] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    checks: dict[str, dict[str, str]] = field(default_factory=dict)
    rulesets: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def create(cls, name: str, folder: Path, branch: str) -> "Hub":
        """An empty repository, whose server refuses what GitHub's would."""
        path = folder / name
        path.mkdir(parents=True)
        git(path, "init", "--quiet", "--bare", f"--initial-branch={branch}")
        (path / "hooks" / "update").write_text(HOOK, encoding="utf-8")
        (path / "hooks" / "update").chmod(0o755)
        return cls(name, path, branch)

    # What happens to commits.

    def heads(self) -> dict[str, str]:
        """The branches, with their newest commits."""
        lines = git(self.path, "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads").splitlines()
        return dict(line.rsplit(" ", 1) for line in lines)

    def pushed(self, before: dict[str, str], user: str) -> None:
        """Start what pushes start: workflows, and those of pull requests; approvals of what was there before go."""
        for branch, sha in self.heads().items():
            if before.get(branch, ZERO) == sha:
                continue
            self._start("push", branch, sha, user, since=before.get(branch))
            for pull in self.pulls:
                if pull.head == branch and pull.state == "open":
                    pull.sha, pull.pusher = sha, user
                    if self._demands("pull_request").get("dismiss_stale_reviews_on_push"):
                        pull.approvals.clear()
                    self._start("pull_request", branch, sha, user)

    def report(self, sha: str, **conclusions: str) -> None:
        """Let checks of a commit end, each by its name."""
        self.checks.setdefault(sha, {}).update(conclusions)

    def queue(self, number: int) -> str | None:
        """Put a pull request into the merge queue; returns the commit to check, None where that starts no workflow."""
        pull = self._pull(number)
        merged = self._merge_commit(pull)
        if merged is None or not self._start(
            "merge_group", f"gh-readonly-queue/{pull.base}/pr-{number}", merged, "ada"
        ):
            return None
        return merged

    def leave_queue(self, number: int, sha: str) -> list[str]:
        """Merge what the queue has checked; returns what is missing, with which nothing is merged."""
        pull = self._pull(number)
        found = self.missing(pull, sha)
        if not found:
            before = self.heads()
            git(self.path, "update-ref", f"refs/heads/{pull.base}", sha)
            pull.state, pull.merged = "closed", True
            self.pushed(before, pull.user)
        return found

    def _start(self, event: str, branch: str, sha: str, user: str, since: str | None = None) -> list[Run]:
        if user == BOT:
            return []
        changed = self._changed(since, sha)
        wanted = [name for name, on in self._triggers(sha) if event in on and _fits(on[event], branch, changed)]
        self.runs += (started := [Run(len(self.runs) + n, name, event, branch, sha) for n, name in enumerate(wanted)])
        return started

    def _changed(self, since: str | None, sha: str) -> list[str]:
        if not since:
            return git(self.path, "ls-tree", "-r", "--name-only", sha).splitlines()
        return git(self.path, "diff", "--name-only", since, sha).splitlines()

    def _triggers(self, sha: str) -> Iterator[tuple[str, dict[str, Any]]]:
        listed = git(self.path, "ls-tree", "--name-only", sha, ".github/workflows/").split()
        for path in listed:
            on = yaml.load(git(self.path, "show", f"{sha}:{path}"), Loader=yaml.BaseLoader)["on"]
            yield Path(path).name, on if isinstance(on, dict) else dict.fromkeys([on] if isinstance(on, str) else on)

    # What may be merged.

    def _has(self, type_: str) -> bool:
        """Whether an active rule of this type is there; `update` lets nobody change the default branch."""
        return any(
            rule["type"] == type_ for one in self.rulesets if one["enforcement"] == "active" for rule in one["rules"]
        )

    def _demands(self, type_: str) -> dict[str, Any]:
        """The parameters of an active rule for the default branch."""
        rules = [rule for one in self.rulesets if one["enforcement"] == "active" for rule in one["rules"]]
        return next((rule.get("parameters", {}) for rule in rules if rule["type"] == type_), {})

    def missing(self, pull: Pull, sha: str | None = None) -> list[str]:
        """What the rules still ask of a pull request, or of a commit of the merge queue."""
        review, checks = self._demands("pull_request"), self._demands("required_status_checks")
        done = self.checks.get(sha or pull.sha, {})
        wanted = [one["context"] for one in checks.get("required_status_checks", [])]
        found = ["Cannot update this protected ref."] if self._has("update") else []
        found += [f'Required status check "{name}" is expected.' for name in wanted if done.get(name) != "success"]
        if not sha and checks.get("strict_required_status_checks_policy") and not self._is_up_to_date(pull):
            found.append("The head branch must be up to date with the base branch.")
        valid = pull.approvals - ({pull.pusher} if review.get("require_last_push_approval") else set())
        if len(valid) < (count := review.get("required_approving_review_count", 0)):
            found.append(f"At least {count} approving review is required by reviewers with write access.")
        if review.get("require_code_owner_review"):
            owners = [people for _, people in self._owners(pull.base) if people]
            found += ["Waiting on code owner review."] if owners and not valid & owners[0] else []
        return found

    def _is_up_to_date(self, pull: Pull) -> bool:
        base = self.heads()[pull.base]
        return git(self.path, "merge-base", base, pull.sha).strip() == base

    def _owners(self, branch: str) -> list[tuple[str, set[str]]]:
        """Each owner that CODEOWNERS names, with the people behind it; nobody behind one that is unknown."""
        listed = git(self.path, "ls-tree", "--name-only", branch, ".github/CODEOWNERS").strip()
        lines = git(self.path, "show", f"{branch}:{listed}").splitlines() if listed else []
        owners = [owner for line in lines if not line.startswith("#") for owner in line.split()[1:]]
        known = {f"@{person}": {person} for person in self.people} | {f"@{team}": us for team, us in self.teams.items()}
        return [(owner, known.get(owner, set())) for owner in owners]

    def _merge_commit(self, pull: Pull) -> str | None:
        base = self.heads()[pull.base]
        command = ["git", "-C", str(self.path), "merge-tree", "--write-tree", base, pull.sha]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        message = f"Merge pull request #{pull.number} from {self.name.partition('/')[0]}/{pull.head}\n\n{pull.title}"
        who = ("-c", "user.name=GitHub", "-c", "user.email=noreply@example.com")
        tree = done.stdout.split()[0]
        return git(self.path, *who, "commit-tree", tree, "-p", base, "-p", pull.sha, "-m", message).strip()

    # What is asked over the interface.

    def answer(self, method: str, path: str, query: str, body: dict[str, Any], user: str) -> Answer:
        """Do what a call asks for. `path` is what follows the repository's name."""
        self._follow()
        for (way, pattern), does in self._calls().items():
            if way == method and fnmatch.fnmatch(path, pattern):
                return does([part for part in path.split("/") if part], parse_qs(query), body, user)
        return 404, {"message": "Not Found"}

    def _calls(self) -> dict[tuple[str, str], Callable[[list[str], Query, dict[str, Any], str], Answer]]:
        """The first that fits answers."""
        return {
            ("GET", ""): lambda *_: (200, {"full_name": self.name, "default_branch": self.branch}),
            ("GET", "/collaborators"): lambda *_: (200, [{"login": person} for person in sorted(self.people)]),
            ("GET", "/codeowners/errors"): lambda *_: (200, {"errors": self._owner_errors()}),
            ("GET", "/pulls"): self._list_pulls,
            ("POST", "/pulls"): self._open,
            ("POST", "/pulls/*/reviews"): self._review,
            ("PUT", "/pulls/*/merge"): self._merge,
            ("PATCH", "/pulls/*"): self._edit,
            ("GET", "/issues/*/comments"): lambda where, *_: (200, self._comments(int(where[1]))),
            ("POST", "/issues/*/comments"): self._comment,
            ("PATCH", "/issues/comments/*"): self._edit_comment,
            ("POST", "/actions/workflows/*/dispatches"): self._dispatch,
            ("POST", "/actions/runs/*/rerun"): self._rerun,
            ("GET", "/rulesets"): lambda *_: (200, [{"id": one["id"], "name": one["name"]} for one in self.rulesets]),
            ("GET", "/rulesets/*"): lambda where, *_: (200, self.rulesets[int(where[1])]),
            ("POST", "/rulesets"): self._put_rule,
            ("PUT", "/rulesets/*"): self._put_rule,
        }

    def _follow(self) -> None:
        """See what was pushed past the server, as tests do: merged by hand, deleted, sent again."""
        heads = self.heads()
        for pull in self.pulls:
            if pull.state == "open" and pull.head not in heads:
                pull.state = "closed"
            elif pull.state == "open":
                pull.sha = heads[pull.head]
                merged = git(self.path, "rev-list", "--count", pull.sha, f"^{pull.base}").strip() == "0"
                pull.state, pull.merged = ("closed", True) if merged else ("open", False)

    def _pull(self, number: int | str) -> Pull:
        return next(pull for pull in self.pulls if pull.number == int(number))

    def _shown(self, pull: Pull) -> dict[str, Any]:
        return {
            "number": pull.number, "title": pull.title, "body": pull.body, "state": pull.state,
            "merged_at": "2026-01-01T00:00:00Z" if pull.merged else None, "user": {"login": pull.user},
            "head": {"ref": pull.head, "sha": pull.sha}, "base": {"ref": pull.base},
            "html_url": f"https://github.example/{self.name}/pull/{pull.number}",
        }  # fmt: skip

    def _list_pulls(self, _: list[str], query: Query, *__: object) -> Answer:
        (state,), head = query.get("state", ["open"]), query.get("head", [""])[0].partition(":")[2]
        found = [pull for pull in reversed(self.pulls) if state in ("all", pull.state) and head in ("", pull.head)]
        return 200, [self._shown(pull) for pull in found]

    def _open(self, _: list[str], __: Query, body: dict[str, Any], user: str) -> Answer:
        head, base, heads = body["head"], body["base"], self.heads()
        owner = self.name.partition("/")[0]
        unknown = [name for name, branch in (("head", head), ("base", base)) if branch not in heads]
        if unknown:
            return _invalid({"resource": "PullRequest", "field": unknown[0], "code": "invalid"})
        if any(pull.head == head and pull.state == "open" for pull in self.pulls):
            return _invalid(_custom(f"A pull request already exists for {owner}:{head}."))
        if git(self.path, "rev-list", "--count", head, f"^{base}").strip() == "0":
            return _invalid(_custom(f"No commits between {base} and {head}"))
        pull = Pull(
            len(self.pulls) + 1, body["title"], body.get("body", ""), head, base, user, heads[head], pusher=user
        )
        self.pulls.append(pull)
        self._start("pull_request", head, pull.sha, user)
        return 201, self._shown(pull)

    def _edit(self, where: list[str], _: Query, body: dict[str, Any], __: str) -> Answer:
        pull = self._pull(where[1])
        pull.title, pull.body = body.get("title", pull.title), body.get("body", pull.body)
        pull.state = body.get("state", pull.state)
        return 200, self._shown(pull)

    def _review(self, where: list[str], _: Query, body: dict[str, Any], user: str) -> Answer:
        pull = self._pull(where[1])
        if user == pull.user and body["event"] == "APPROVE":
            return 422, {"message": "Unprocessable Entity", "errors": ["Can not approve your own pull request"]}
        pull.approvals.add(user)
        return 200, {}

    def _merge(self, where: list[str], _: Query, __: dict[str, Any], user: str) -> Answer:
        pull = self._pull(where[1])
        if found := self.missing(pull):
            return 405, {"message": "Repository rule violations found\n\n" + "\n".join(found)}
        merged = self._merge_commit(pull)
        if merged is None:
            return 405, {"message": "Pull Request is not mergeable"}
        before = self.heads()
        git(self.path, "update-ref", f"refs/heads/{pull.base}", merged)
        pull.state, pull.merged = "closed", True
        self.pushed(before, user)
        return 200, {"sha": merged, "merged": True}

    def _comments(self, number: int) -> list[dict[str, Any]]:
        return [one for one in self.comments if one["issue"] == number]

    def _comment(self, where: list[str], _: Query, body: dict[str, Any], user: str) -> Answer:
        one = {"id": len(self.comments), "issue": int(where[1]), "body": body["body"], "user": {"login": user}}
        self.comments.append(one)
        return 201, one

    def _edit_comment(self, where: list[str], _: Query, body: dict[str, Any], __: str) -> Answer:
        self.comments[int(where[2])]["body"] = body["body"]
        return 200, self.comments[int(where[2])]

    def _dispatch(self, where: list[str], _: Query, body: dict[str, Any], __: str) -> Answer:
        heads, workflow = self.heads(), where[2]
        if workflow not in dict(self._triggers(heads[self.branch])):
            return 404, {"message": "Not Found"}
        if body["ref"] not in heads:
            return 422, {"message": f"No ref found for: {body['ref']}"}
        if "workflow_dispatch" not in dict(self._triggers(heads[body["ref"]])).get(workflow, {}):
            return 422, {"message": "Workflow does not have 'workflow_dispatch' trigger"}
        self.runs.append(Run(len(self.runs), workflow, "workflow_dispatch", body["ref"], heads[body["ref"]]))
        return 204, None

    def _rerun(self, where: list[str], *_: object) -> Answer:
        old = self.runs[int(where[2])]
        self.runs.append(Run(old.number, old.workflow, old.event, old.branch, old.sha, old.attempt + 1))
        return 201, {}

    def _put_rule(self, where: list[str], _: Query, body: dict[str, Any], __: str) -> Answer:
        number = int(where[1]) if len(where) > 1 else len(self.rulesets)
        self.rulesets[number : number + 1] = [body | {"id": number}]
        closed = "pull_request" in {rule["type"] for one in self.rulesets for rule in one["rules"]}
        (self.path / "protected").write_text(f"refs/heads/{self.branch}\n" * closed, encoding="utf-8")
        return 200, {}

    def _owner_errors(self) -> list[dict[str, Any]]:
        unknown = [owner for owner, people in self._owners(self.branch) if not people]
        path, kind = ".github/CODEOWNERS", "Unknown owner"
        return [{"line": 0, "kind": kind, "path": path, "message": f"{kind}: {owner}"} for owner in unknown]


def _custom(message: str) -> dict[str, str]:
    return {"resource": "PullRequest", "code": "custom", "message": message}


def _invalid(error: dict[str, str]) -> Answer:
    return 422, {"message": "Validation Failed", "errors": [error]}


def _fits(trigger: object, branch: str, changed: list[str]) -> bool:
    given = trigger if isinstance(trigger, dict) else {}
    paths = GitIgnoreSpec.from_lines(f"/{path}" for path in given.get("paths", []))
    is_of_branch = any(fnmatch.fnmatch(branch, one) for one in given.get("branches", ["*"]))
    return is_of_branch and ("paths" not in given or any(map(paths.match_file, changed)))
