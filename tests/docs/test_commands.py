"""Every command block of the pages a newcomer reads does what it says."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from questions import ROOT
from rendering import Template, snapshot
from running import free_port, give_free_ports

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
URL = "https://github.com/slipway-mlops/slipway.git"
TIMEOUT_S = 1500


def blocks(page: Path) -> list[str]:
    """Return the command blocks of a page, in their order."""
    return re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def port(template: Template, environment: str) -> str:
    """Return where an environment of a new project listens."""
    text = (template.path / "template" / "deploy" / "environments" / f"{environment}.yaml").read_text(encoding="utf-8")
    return text.partition("port: ")[2].split()[0]


def name(page: Path) -> str:
    """Return a readable test id."""
    return page.relative_to(ROOT).as_posix()


@pytest.fixture
def template(tmp_path: Path) -> Template:
    """The template with ports that are free on this machine."""
    (tmp_path / "template").mkdir()
    template = snapshot(tmp_path / "template")
    return template.release("v1000.0.0", lambda path: give_free_ports(path / "template"))


@pytest.fixture
def reader(template: Template, tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody whose Git finds this work tree at the template's address."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_COUNT", "1")
        patch.setenv("GIT_CONFIG_KEY_0", f"url.{template.path.as_uri()}.insteadOf")
        patch.setenv("GIT_CONFIG_VALUE_0", URL)
        patch.setenv("COPIER_CACHE_DIR", str(tmp_path / "cache"))
        # `make test` on a page must not run this test again.
        patch.setenv("TESTS", "tests/render/test_owners.py")
        folder = tmp_path / "reader"
        folder.mkdir()
        yield folder
        for answers in folder.glob("*/.copier-answers.yml"):
            subprocess.run(["uv", "run", "mlops", "stop", "staging"], cwd=answers.parent, check=False)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_the_commands_of_a_page_work_one_after_the_other(page: Path, reader: Path, template: Template) -> None:
    script = "\n".join(["set -euo pipefail", *blocks(page)])
    script = script.replace("http://127.0.0.1:8001", f"http://127.0.0.1:{port(template, 'staging')}")
    # That of the tracking server. Should the page fail, what it has started goes with the shell.
    script = script.replace("15000", str(free_port())).replace("pipefail", "pipefail\ntrap 'kill $(jobs -p)' ERR", 1)

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=reader,
        env=os.environ,
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_a_command_block_is_found() -> None:
    """The twin: were the pattern wrong, no block would be run and no test would be red."""
    assert blocks(ROOT / "README.md")[0].endswith("make test\ncd ..\n")
