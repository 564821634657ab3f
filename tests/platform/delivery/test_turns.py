"""A rollback and a deployment of the same environment, which two jobs may start at the same time."""

import threading
from contextlib import suppress

import pytest
from slipway.base.errors import MlopsError
from slipway.delivery import deploy
from slipway.settings.project import Project


def deploy_beside_another(project: Project, seconds: float) -> str:
    """Deploy while somebody else has the environment for so long; returns what was refused."""
    environment = project.root / "deploy" / "environments" / "staging.yaml"
    environment.parent.mkdir(parents=True)
    environment.write_text("alias: staging\nserve: {host: 127.0.0.1, port: 1}\n", encoding="utf-8")
    has_it, gives_it_back = threading.Event(), threading.Event()

    def other() -> None:
        with project.only_one("deploy staging"):
            has_it.set()
            gives_it_back.wait(10)

    thread = threading.Thread(target=other)
    thread.start()
    has_it.wait(10)
    timer = threading.Timer(seconds, gives_it_back.set)
    timer.start()
    with pytest.raises(MlopsError) as refused:
        deploy.deploy(project, "staging")
    gives_it_back.set()
    thread.join()
    with suppress(RuntimeError):
        timer.cancel()
    return refused.value.problem


def test_one_waits_for_the_other_and_says_so(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The next refusal is that nothing of this is in Git."""
    assert "another `mlops deploy" not in deploy_beside_another(project, 0.3)
    assert "another `mlops deploy staging` is running; waiting for it, 600 s at the most" in capsys.readouterr().err


def test_it_does_not_wait_for_ever(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "TURN_S", 0.1)

    assert "another `mlops deploy staging` is running" in deploy_beside_another(project, 5)
