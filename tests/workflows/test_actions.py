"""The harness that runs workflows, on workflows made for it: it must see what runs, what fails and what does not."""

from pathlib import Path

import pytest
from actions import Runner, assert_green, assert_red, declared
from rendering import commit, files, git

PIN = "0123456789abcdef0123456789abcdef01234567"
CHECKOUT = f"uses: actions/checkout@{PIN}"

TWO_JOBS = f"""
name: CI
on: [push, workflow_dispatch]
jobs:
  build:
    runs-on: ubuntu-24.04
    outputs:
      word: ${{{{ steps.say.outputs.word }}}}
    steps:
      - {CHECKOUT}
      - name: Say it
        id: say
        run: |
          echo "word=$(cat word.txt)" >> "$GITHUB_OUTPUT"
          echo "# A summary" >> "$GITHUB_STEP_SUMMARY"
      - uses: actions/upload-artifact@{PIN}
        with: {{ name: words, path: "*.txt", if-no-files-found: error }}
      - name: Log in to the cloud
        if: ${{{{ !env.ACT }}}}
        uses: azure/login@{PIN}
  use:
    name: Use ${{{{ matrix.word }}}}
    needs: build
    runs-on: ubuntu-24.04
    strategy:
      matrix:
        word: [hello, hallo]
    steps:
      - uses: actions/download-artifact@{PIN}
        with: {{ name: words }}
      - name: Compare with ${{{{ inputs.other || 'nothing' }}}}
        run: test "${{{{ needs.build.outputs.word }}}}" = "$(cat word.txt)"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository with one file and no workflows."""
    root = tmp_path / "project"
    (root / ".github" / "workflows").mkdir(parents=True)
    (root / "word.txt").write_text("hello\n", encoding="utf-8")
    git(root, "init", "--quiet")
    commit(root, "Say hello")
    return root


def write(project: Path, text: str, name: str = "ci.yml") -> Path:
    """Add a workflow to the project and commit it."""
    path = project / ".github" / "workflows" / name
    path.write_text(text, encoding="utf-8")
    commit(project, f"Add {name}")
    return path


def steps(*lines: str, more: str = "") -> str:
    """A workflow with one job."""
    listed = "\n".join(f"      - {line}" for line in lines)
    return f"on: push\njobs:\n  one:\n    runs-on: ubuntu-24.04\n{more}    steps:\n{listed}\n"


def test_a_green_run_names_every_job_and_step(project: Path, tmp_path: Path) -> None:
    path = write(project, TWO_JOBS)

    run = Runner(project, tmp_path / "runs").run("ci.yml", "workflow_dispatch", inputs={"other": "hallo"})

    used = ["actions/download-artifact", "Compare with ${{ inputs.other || 'nothing' }}"]
    build = ["actions/checkout", "Say it", "actions/upload-artifact"]
    assert_green(run, {"build": build, "use (hello)": used, "use (hallo)": used})
    assert declared(path) == {"build": [*build, "Log in to the cloud"], "use": used}
    assert run.jobs["build"].ended("skipped") == ["Log in to the cloud"]
    assert run.summary == "# A summary\n"
    assert (run.artifacts / "words" / "word.txt").read_text(encoding="utf-8") == "hello\n"


def test_a_red_step_is_named_and_what_needs_it_is_skipped(project: Path, tmp_path: Path) -> None:
    later = "  later:\n    needs: one\n    runs-on: ubuntu-24.04\n    steps: [{run: 'true'}]\n"
    write(project, steps("run: 'true'", "{name: Break, run: exit 3}", "{name: After, run: 'true'}") + later)

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert_red(run, "one", "Break")
    assert run.jobs["one"].ended("skipped") == ["After"]
    assert run.ended("skipped") == {"later"}
    with pytest.raises(AssertionError):
        assert_green(run, {"one": ["true"], "later": ["true"]})


def test_an_allowed_failure_is_seen_though_the_job_succeeds(project: Path, tmp_path: Path) -> None:
    write(project, steps("{name: Try, run: exit 3, continue-on-error: true}"))

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert run.jobs["one"].result == "success"
    assert run.failures == [("one", "Try")]


def test_a_job_that_does_not_run_is_no_green_job(project: Path, tmp_path: Path) -> None:
    write(project, steps("{name: Never, run: 'true'}", more="    if: ${{ github.event_name == 'schedule' }}\n"))

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert_green(run, {}, skipped={"one"})
    with pytest.raises(AssertionError):
        assert_green(run, {"one": ["Never"]})


def test_the_jobs_of_a_called_workflow_bear_the_callers_name(project: Path, tmp_path: Path) -> None:
    inner = steps("{name: Greet, run: 'test \"${{ inputs.word }}\" = hello'}")
    inner = inner.replace("on: push", "name: Inner\non: {workflow_call: {inputs: {word: {type: string}}}}")
    write(project, inner, "inner.yml")
    call = "uses: ./.github/workflows/inner.yml"
    jobs = f"  first:\n    name: First call\n    {call}\n    with: {{word: hello}}\n  second:\n    {call}\n"
    write(project, f"on: push\njobs:\n{jobs}")

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert run.jobs["first/one"].ended("success") == ["Greet"]
    assert_red(run, "second/one", "Greet")


def test_a_job_sees_secrets_variables_and_the_event_and_nothing_of_this_machine(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAK", "1")
    (project / ".env").write_text("LEAK=1\n", encoding="utf-8")
    (project / ".secrets").write_text("OTHER=1\n", encoding="utf-8")
    seen = (
        "${{ secrets.KEY }},${{ secrets.OTHER }},${{ vars.PLACE }},${{ github.event.number }},${{ github.repository }}"
    )
    check = f'run: \'test "{seen},$GIVEN,$LEAK" = "a b,,here,7,someone/flights,yes,"\''
    write(project, steps(check, "run: '! command -v uv'").replace("push", "pull_request"))
    runner = Runner(
        project,
        tmp_path / "runs",
        repository="someone/flights",
        secrets={"KEY": "a b"},
        variables={"PLACE": "here"},
        env={"GIVEN": "yes"},
    )

    run = runner.run("ci.yml", "pull_request", payload={"number": 7})

    assert run.ended("success") == {"one"}, run.log


def test_a_checkout_holds_one_commit_and_only_what_is_committed(project: Path, tmp_path: Path) -> None:
    checks = [
        "run: test $(git log --oneline | wc -l) = 1",
        "run: test ! -e new.txt",
        "run: '! git push origin HEAD:new'",
    ]
    uv = f"uses: astral-sh/setup-uv@{PIN}"
    write(project, steps(CHECKOUT + "\n        with: {persist-credentials: false}", uv, *checks, "run: uv --version"))
    (project / "new.txt").write_text("not committed\n", encoding="utf-8")

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert run.ended("success") == {"one"}, run.log


def test_a_job_can_push_a_branch(project: Path, tmp_path: Path) -> None:
    write(project, steps(CHECKOUT, "run: git push origin HEAD:refs/heads/proposal"))

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert run.ended("success") == {"one"}, run.log
    assert git(project, "rev-parse", "proposal") == git(project, "rev-parse", "HEAD")


def test_a_checkout_has_the_history_and_the_tags_that_it_asks_for(project: Path, tmp_path: Path) -> None:
    git(project, "tag", "v1")
    all_of_it = CHECKOUT + "\n        with: {fetch-depth: 0}"
    write(project, steps(all_of_it, "run: test $(git log --oneline | wc -l) = 2", "run: git rev-parse v1"))

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert run.ended("success") == {"one"}, run.log


def test_an_upload_keeps_folders_and_leaves_out_what_is_hidden_or_excluded(project: Path, tmp_path: Path) -> None:
    for name in ("out/a.txt", "out/deep/b.txt", "out/.c.txt", "out/d.log", "more/e.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(name, encoding="utf-8")
    paths = "path: |\n            out/**\n            more/e.txt\n            !out/*.log"
    write(project, steps(CHECKOUT, f"uses: actions/upload-artifact@{PIN}\n        with:\n          {paths}"))

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert set(files(run.artifacts)) == {"artifact/out/a.txt", "artifact/out/deep/b.txt", "artifact/more/e.txt"}


def test_an_upload_of_nothing_is_red_where_the_workflow_says_so(project: Path, tmp_path: Path) -> None:
    upload = f"uses: actions/upload-artifact@{PIN}\n        with: {{path: none.txt, if-no-files-found: error}}"
    write(project, steps(upload))

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert_red(run, "one", "actions/upload-artifact")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(steps("run: 'true'").replace("24.04", "22.04"), "label ubuntu-22.04", id="unknown label"),
        pytest.param(steps(f"uses: someone/thing@{PIN}"), f"someone/thing@{PIN} has no stub", id="no stub"),
        pytest.param(steps("run: 'true'", more="    services: {db: {image: db}}\n"), "has services", id="services"),
        pytest.param(steps("{name: Misspelt, rn: 'true'}"), "Unknown Property rn", id="not a workflow"),
        pytest.param(steps("run: 'true'").replace("on: push", "on: schedule"), "not find any stages", id="other event"),
    ],
)
def test_what_act_would_pass_over_is_an_error(project: Path, tmp_path: Path, text: str, complaint: str) -> None:
    write(project, text)

    with pytest.raises(AssertionError, match=complaint):
        Runner(project, tmp_path / "runs").run("ci.yml")


def test_a_login_to_a_cloud_is_red_and_says_so(project: Path, tmp_path: Path) -> None:
    write(project, steps(f"uses: azure/login@{PIN}"))

    run = Runner(project, tmp_path / "runs").run("ci.yml")

    assert_red(run, "one", "azure/login")
    assert "azure/login needs a cloud" in run.log
