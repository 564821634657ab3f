"""The monitor's verdict over several windows, on a server's own log."""

from clients import say_the_same_a_week_ago
from running import RunningProject


def test_one_odd_week_is_watched_and_a_second_one_acted_on(trained_project: RunningProject) -> None:
    trained_project.release("staging")
    rows = trained_project.flights(300)
    assert trained_project.request("POST", "/predict", {"rows": rows}).status == 200
    trained_project.stop()

    first = trained_project.mlops("monitor", "staging", check=False)
    say_the_same_a_week_ago(trained_project.root / ".mlops/predictions/staging")
    second = trained_project.mlops("monitor", "staging", check=False)
    alone = trained_project.mlops("monitor", "staging", "--since", "7d", check=False)

    assert (first.exit_code, second.exit_code, alone.exit_code) == (0, 3, 3)
    assert first.stdout.splitlines()[-2].startswith("watch: ")
    assert "1 of the last 4 windows ask to act, 2 are needed" in first.stdout
    assert second.stdout.splitlines()[-2].startswith("act: ")
    assert "2 of the last 4 windows ask to act" in second.stdout
    page = (trained_project.root / "reports" / "monitor-staging-history.html").read_text("utf-8")
    # The deployment asks one more; the labels of the week before are due, and there are none.
    assert page.count("<td>1</td><td>301</td><td>0</td><td>0</td>") == 1
    assert page.count("<td>1</td><td>301</td><td>301</td><td>0</td>") == 1
    assert "unknown: 0 labelled predictions" in page
