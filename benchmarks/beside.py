"""What one server costs beside another of the same project, as of another release or commit of Slipway.

Both answer the same rows in turns, one row a request under eight connections and 1,000 rows one request after the
other, so that what else the machine does falls on both. Needs `wrk`, and two projects whose pipelines have run:

    python benchmarks/beside.py BEFORE AFTER
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from serving import (
    SEAL,
    WARM_UP_SECONDS,
    Server,
    load,
    machine,
    post_in_turns,
    post_script,
    python,
    serving,
    times,
    trained,
)

ROUNDS = 30
SECONDS = 4
MANY = 1_000
CALLS = 20

Figures = defaultdict[str, list[float]]


def start(project: Path, folder: Path, stack: ExitStack) -> Server:
    """Serve the project's newest bundle, with nothing left out."""
    folder.mkdir()
    subprocess.run(python(project, SEAL, str(folder / "bundle")), cwd=project, check=True)
    return stack.enter_context(serving(project, "server", folder))


def measure(server: Server, script: Path, rows: list[object], figures: Figures) -> None:
    """Add one round of figures."""
    one = load(server, script, SECONDS)
    figures["one row, p50, ms"].append(one.p50_ms)
    figures["one row, processor time, µs"].append(one.cpu_us)
    before = server.cpu_s()
    took = [post_in_turns(server, rows, [MANY])[MANY] for _ in range(CALLS)]
    figures[f"{MANY:,} rows, ms"].append(statistics.median(took) * 1e3)
    figures[f"{MANY:,} rows, processor time, ms"].append((server.cpu_s() - before) / CALLS / times(MANY) * 1e3)


def table(before: Figures, after: Figures) -> str:
    """The medians of all rounds, and of their ratios, as Markdown."""
    lines = ["| medians | before | after | ratio (middle half) |", "|---|--:|--:|--:|"]
    for name in before:
        first, second = statistics.median(before[name]), statistics.median(after[name])
        low, middle, high = statistics.quantiles([b / a for a, b in zip(before[name], after[name], strict=True)], n=4)
        lines.append(f"| {name} | {first:.3g} | {second:.3g} | {middle:.2f} ({low:.2f} to {high:.2f}) |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=trained, help="A generated project whose pipeline has run.")
    parser.add_argument("after", type=trained, help="The same, of another version of the template.")
    projects = vars(parser.parse_args())
    about = machine()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        golden = json.loads((projects["after"] / "model" / "bundle" / "golden.json").read_bytes())["rows"]
        script = post_script(folder, map(json.dumps, golden))
        servers = {name: start(path, folder / name, stack) for name, path in projects.items()}
        for server in servers.values():
            load(server, script, WARM_UP_SECONDS)
        figures: dict[str, Figures] = {name: defaultdict(list) for name in servers}
        for turn in range(ROUNDS):
            for name in sorted(servers, reverse=turn % 2 == 1):
                measure(servers[name], script, golden, figures[name])
        print(f"{about}\n\n{table(figures['before'], figures['after'])}")


if __name__ == "__main__":
    main()
