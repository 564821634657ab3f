"""What it costs to ask who asks: a server that does beside the same one that does not.

Both answer the same rows in turns, one row a request under eight connections, so that what else the machine does falls
on both. One of a thousand tokens comes with each request. Needs `wrk`, and a project whose pipeline has run:

    python benchmarks/access.py PROJECT
"""

import argparse
import json
import secrets
import statistics
import subprocess
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

from serving import SEAL, WARM_UP_SECONDS, load, machine, post_script, python, serving, trained

ROUNDS = 60
SECONDS = 1
TOKENS = 1_000


def admitted(folder: Path) -> str:
    """Write who may ask; returns the token of one of them."""
    tokens = ["mlops_" + secrets.token_urlsafe(32) for _ in range(TOKENS)]
    digests = [f"sha256:{sha256(token.encode()).hexdigest()}" for token in tokens]
    named = {f"client-{number}": {"digest": digest} for number, digest in enumerate(digests)}
    content = {"deploying": digests[0], "tokens": named}
    (folder / "admitted.json").write_text(json.dumps(content), encoding="utf-8")
    return tokens[TOKENS // 2]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=trained, help="A generated project whose pipeline has run.")
    project = parser.parse_args().project
    about = machine()
    rows = json.loads((project / "model" / "bundle" / "golden.json").read_bytes())["rows"]
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        servers = {}
        for name in ("server", "guarded"):
            folder = Path(scratch) / name
            folder.mkdir()
            subprocess.run(python(project, SEAL, str(folder / "bundle")), cwd=project, check=True)
            token = admitted(folder) if name == "guarded" else ""
            script = post_script(folder, map(json.dumps, rows), token=token)
            servers[name] = stack.enter_context(serving(project, name, folder)), script
        for server, script in servers.values():
            load(server, script, WARM_UP_SECONDS)
        for turn in range(ROUNDS):
            for name in sorted(servers, reverse=turn % 2 == 1):
                seen = load(*servers[name], SECONDS)
                figures["requests/s"][name].append(seen.per_second)
                figures["processor µs/request"][name].append(seen.cpu_us)
                figures["p99 ms"][name].append(seen.p99_ms)
    print(f"{about}\n\n| medians | open | with tokens | ratio (middle half) |\n|---|--:|--:|--:|")
    for what, found in figures.items():
        ratios = [b / a for a, b in zip(found["server"], found["guarded"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        first, second = statistics.median(found["server"]), statistics.median(found["guarded"])
        print(f"| {what} | {first:,.3g} | {second:,.3g} | {middle:.3f} ({low:.3f} to {high:.3f}) |")


if __name__ == "__main__":
    main()
