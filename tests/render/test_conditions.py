"""Both sides of every condition are rendered: in files, in their names and in copier.yml."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import copier
import pytest
from answers import pairwise
from jinja2 import Environment, nodes
from questions import questionnaire
from rendering import Template, commit, git

# Both look at what one recorder has seen, which takes a copy with each set of answers.
pytestmark = pytest.mark.xdist_group("conditions")

# A validator or a help line speaks to the person who answers; tests of the questions hold each of them.
SPOKEN = {"validator", "help", "choices"}


@dataclass
class Recorder:
    """Compiles each Jinja source with its conditions reported here, by source and position in it."""

    seen: dict[tuple[str, int], set[bool]] = field(default_factory=lambda: defaultdict(set))
    environment: Environment | None = None

    def instrument(self, environment: Environment, source: str, tree: nodes.Template) -> nodes.Template:
        """Wrap each condition in a filter that notes its outcome and passes it on."""

        def note(value: object, position: int) -> object:
            self.seen[source, position].add(bool(value))
            return value

        name = f"note_{id(note)}"
        environment.filters[name] = note
        self.environment = environment
        for position, node in enumerate(_conditions(tree)):
            arguments: list[nodes.Expr] = [nodes.Const(position)]
            node.test = nodes.Filter(node.test, name, arguments, [], None, None).set_lineno(node.lineno)
        tree.set_environment(environment)
        return tree


def _conditions(tree: nodes.Template) -> list[Any]:
    return [node for node in tree.find_all((nodes.If, nodes.CondExpr, nodes.For)) if getattr(node, "test", None)]


@pytest.fixture(scope="module")
def recorder(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    """A recorder that has watched a copy with each set of answers, and an update."""
    recorder = Recorder()
    parse = Environment._parse

    def parse_and_instrument(self: Environment, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return recorder.instrument(self, source, parse(self, source, name, filename))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "_parse", parse_and_instrument)
        for answers in pairwise():
            project = template.render(tmp_path_factory.mktemp("watched"), **answers)
        # Only a copy that is not quiet says something at the end; what it says depends on `--skip`.
        copier.run_copy(str(template.path), project, defaults=True, overwrite=True)
        copier.run_copy(str(template.path), project, defaults=True, skip_if_exists=["*"])
        git(project, "init", "--quiet")
        commit(project, "A project")
        for size in ("small", "regulated"):
            current = copier.VcsRef.CURRENT
            copier.run_update(project, data={"size": size}, defaults=True, overwrite=True, vcs_ref=current)
            commit(project, "Another size")
    return recorder


def _sources(template: Path) -> Iterator[tuple[str, str]]:
    """Yield each Jinja source of a project with the place where a person finds it."""
    for path in sorted((template / "template").rglob("*")):
        place = path.relative_to(template).as_posix()
        if path.name.endswith(".jinja") and path.is_file():
            yield place, path.read_text(encoding="utf-8")
        yield f"name of {place}", path.name.removesuffix(".jinja")
    for key, value in questionnaire().items():
        parts = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else [value])
        yield from (
            (f"copier.yml, {key}, {part}", text) for part, text in parts if isinstance(text, str) and part not in SPOKEN
        )


def test_every_condition_was_true_once_and_false_once(template: Template, recorder: Recorder) -> None:
    environment = recorder.environment
    assert environment is not None
    expected = {
        f"{place}, line {node.lineno}, is never {outcome}"
        for place, source in _sources(template.path)
        for position, node in enumerate(_conditions(environment.parse(source)))
        for outcome in {True, False} - recorder.seen[source, position]
    }

    assert expected == set()


def test_there_is_a_condition_to_watch(recorder: Recorder) -> None:
    """The twin: were nothing recorded, the test above would compare nothing with nothing."""
    assert {True, False} in recorder.seen.values()
