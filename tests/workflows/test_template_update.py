"""The weekly look for a newer version of the template: a proposal, or red where a person has to choose."""

from pathlib import Path

import pytest
from actions import assert_green, assert_red, declared
from company import REPOSITORY, open_shop, push, runner_for
from forge import forge
from rendering import Template, snapshot
from running import prepare

pytestmark = pytest.mark.xdist_group("template update")


def add_a_page(template: Path) -> None:
    (template / "template" / "docs" / "news.md").write_text("# News\n", encoding="utf-8")


def say_it_otherwise(template: Path) -> None:
    page = template / "template" / "docs" / "ci.md.jinja"
    page.write_text(page.read_text("utf-8").replace("# Workflows, credentials", "# Rights, workflows"), "utf-8")


@pytest.mark.parametrize("size", ["small", "standard"])
def test_a_newer_version_is_proposed_and_a_conflict_is_red(size: str, tmp_path: Path) -> None:
    for name in ("template", "forge"):
        (tmp_path / name).mkdir()
    template: Template = snapshot(tmp_path / "template")
    project = prepare(template.render(tmp_path / "flights", size=size))
    with forge(tmp_path / "forge") as there:
        open_shop(project, there)
        runner = runner_for(project, there, tmp_path / "runs")
        template.release("v9.0.0", add_a_page)
        proposed = runner.run("template-update.yml", "schedule")
        branches, calls = there.branches(REPOSITORY), list(there.calls)

        project.edit("docs/ci.md", "# Workflows, credentials", "# Our workflows, credentials")
        project.commit("Name the page otherwise")
        push(project, there)
        template.release("v9.1.0", say_it_otherwise)
        refused = runner.run("template-update.yml", "schedule")

    workflow = project.root / ".github" / "workflows" / "template-update.yml"
    assert_green(proposed, declared(workflow))
    assert branches == {"main", "template/v9.0.0"}
    assert there.git(REPOSITORY, "show", "template/v9.0.0:docs/news.md") == "# News\n"
    assert ("POST", f"/repos/{REPOSITORY}/pulls") in [(method, path) for method, path, _ in calls]
    assert_red(refused, "update", "Merge what is new into a branch")
    assert "changed the same lines in docs/ci.md" in refused.log
    assert "template/v9.1.0" not in there.branches(REPOSITORY)
