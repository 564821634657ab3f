"""Write the page on governance that every project has: the table for all choices, and the test that shows each line."""

import ast
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from slipway.evidence.governance import GovernanceRule

ROOT = Path(__file__).parents[1]
PLATFORM = ROOT / "template" / "vendor" / "slipway"
PAGE = PLATFORM / "docs" / "governance.md"
sys.path.insert(0, str(PLATFORM / "src"))

HEAD = """\
# Governance

What a project keeps, where it lies, who may read, write and delete it, for how long, and by what that is enforced.
After this page you know what to allow to whom, and how to find out who may do more than they should.

```text
uv run mlops governance
uv run mlops audit
```

The first shows the lines below that hold for your project's own answers and settings, with its places and days;
`--json` gives the same facts. The second asks: it uses each right of the identity at hand once, at the data remote and
at a log in a bucket, and compares what it may with the table. More than that is a failed check, and so is less, except
for a person, who may have less. It also looks whether others of the machine can read logs and secrets, whether
anything in the logs is older than `privacy.keep_days`, and whether somebody has to agree to what runs. What nobody
here can know is a line `skip` with `not asked` and the reason, and is no `ok`.

`--as` says whose rights the identity at hand shall have; without it they are a person's, and in a job those of the
job. So on the machine that serves, with the variables of its uploading process: `uv run mlops audit --as server`, and
with those of the workflow that monitors: `--as monitor`.

To find out who may write, one object of a few bytes is written, `mlops-connections` at the data remote and
`mlops-audit` beside the log; whoever may not delete leaves it there. To find out who may delete, an object is deleted
that is not there, or that one.

## Who

{actors}
An erasure writes objects of the log anew: it needs the identity of the server. Where an artefact has a line for each
kind of data remote, the first column names the answer to `data_remote`.
"""


def page() -> str:
    """Return the page as Markdown."""
    from slipway.evidence.governance import ACTORS, NAMES, RULES

    actors = "".join(f"- `{actor}`, {NAMES[actor]}: {said}\n" for actor, said in ACTORS.items())
    return HEAD.format(actors=actors) + _table(_merged(RULES, _row)) + _proofs(_merged(RULES, _proof))


def _merged(
    rules: "Iterable[GovernanceRule]", row_of: "Callable[[GovernanceRule], str]"
) -> "dict[str, list[GovernanceRule]]":
    """The rules by what a row says of them: what is kept alike has one row."""
    rows: dict[str, list[GovernanceRule]] = {}
    for one in rules:
        rows.setdefault(row_of(one), []).append(one)
    return rows


def _table(rows: "dict[str, list[GovernanceRule]]") -> str:
    head = "\n## The table\n\n| what | choice | where | read | write | delete | kept | enforced by |\n"
    body = "".join(f"| {', '.join(one.artefact for one in alike)} | {row}" for row, alike in rows.items())
    return head + "|---|---|---|---|---|---|---|---|\n" + body


def _row(rule: "GovernanceRule") -> str:
    who = [", ".join(f"`{actor}`" for actor in rule.of(verb)) or "nobody" for verb in ("read", "write", "delete")]
    cells = [f"`{rule.choice}`", rule.lies, *who, rule.kept, rule.enforced]
    return f"{' | '.join(cells)} |\n"


def _proof(rule: "GovernanceRule") -> str:
    return ", ".join(f"`{proof}`" for proof in rule.proofs)


def _proofs(rows: "dict[str, list[GovernanceRule]]") -> str:
    head = (
        "\n## What shows it\n\nTests of the template's repository, against real servers or their makers' emulators.\n\n"
    )
    body = ""
    for proofs, alike in rows.items():
        what, choices = (
            dict.fromkeys(words) for words in zip(*((one.artefact, one.choice) for one in alike), strict=True)
        )
        body += f"| {', '.join(what)} | {', '.join(f'`{choice}`' for choice in choices)} | {proofs} |\n"
    return f"{head}| what | choice | test |\n|---|---|---|\n{body}"


def missing(proof: str) -> bool:
    """Whether the test that a proof names is nowhere."""
    file, _, name = proof.partition("::")
    return name not in _functions(ROOT / file)


@cache
def _functions(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    return frozenset(node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
