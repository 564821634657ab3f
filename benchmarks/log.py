"""What a prediction log costs: bytes of a prediction, requests to a bucket, and time and memory of the monitor.

Run it with the Python of a generated project whose pipeline has run, on Linux:

    uv run --project PROJECT python benchmarks/log.py PROJECT
    uv run --project PROJECT python benchmarks/log.py PROJECT --rows 100000 1000000 --bucket s3://flights/measured

The first prints bytes and arithmetic; the second also writes logs of so many rows, all of one week, to a folder that is
thrown away, and to a bucket which the environment lets it into, and judges each in a process of its own. Prices are
those that you pass; without any, the table has quantities alone:

    … benchmarks/log.py PROJECT --put-1000 0.005 --get-1000 0.0004 --gb-month 0.023 --kept-days 90
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from monitor import LOGGED, LOGGED_UNTIL, machine, row_of, write_log

#: How many rows bytes are measured on at the most, and how many rows the objects have.
MEASURED = 20_000
OBJECT_ROWS = (100, 1_000, 10_000)
WINDOW_DAYS = 7
DAY_S = 86_400
#: Of what is written at once.
BLOCK = 20_000


def main() -> None:
    """Print what was measured, and the arithmetic that follows from it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("project", type=Path, help="A generated project whose pipeline has run.")
    parser.add_argument("--daily", type=int, default=50_000_000, help="Predictions a day, in the arithmetic.")
    parser.add_argument("--servers", type=int, nargs="+", default=[1, 10, 100], help="Processes that write the log.")
    parser.add_argument("--rows", type=int, nargs="+", default=[], help="Logs of so many rows are judged.")
    parser.add_argument("--bucket", default="", help="Where logs are judged as well, like s3://bucket/folder.")
    parser.add_argument("--max-rows", type=int, help="`monitor.max_rows` of the policy that these are judged by.")
    parser.add_argument("--labels", action="store_true", help="Each prediction has a label, in a file of its day.")
    parser.add_argument("--put-1000", type=float, help="Price of 1,000 requests that write or list.")
    parser.add_argument("--get-1000", type=float, help="Price of 1,000 requests that read.")
    parser.add_argument("--gb-month", type=float, help="Price of a gigabyte kept for 30 days.")
    parser.add_argument("--kept-days", type=int, default=90, help="For how long the log is kept.")
    parser.add_argument("--judge", action="store_true", help="Judge the log of PROJECT in this process, print JSON.")
    options = parser.parse_args()
    if options.judge:
        print(json.dumps(judge(options.project)))
        return
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}\n")
    sizes = measured_bytes(options.project)
    print(bytes_table(sizes))
    print(cost_table(options, sizes))
    if options.rows:
        judge_all(options)


def lines_of(golden: Sequence[Any], digest: str, begin: datetime, rows: int, seed: int) -> Iterator[bytes]:
    """Lines of a log of one day, a block at a time, in the order in which they were asked."""
    from slipway.log.predictions import Prediction

    draw, encoder, step = np.random.default_rng(seed), msgspec.json.Encoder(), timedelta(days=1) / max(rows, 1)
    for start in range(0, rows, BLOCK):
        number = min(BLOCK, rows - start)
        ids = draw.bytes(16 * number).hex()
        scores = draw.random(number, np.float32).tolist()
        yield encoder.encode_lines([
            Prediction(
                f"{ids[32 * at : 32 * at + 32]}-0", begin + (start + at) * step, LOGGED, 1, digest,
                golden[(start + at) % len(golden)], scores[at], scores[at] > 0.5,
            )
            for at in range(number)
        ])  # fmt: skip


def asked_rows(project: Path) -> tuple[list[Any], str]:
    """Rows as the example's requests hold them, and the digest of the model that answers."""
    import polars as pl
    from slipway.settings.project import Project
    from slipway.team import CONTRACT

    frame = pl.read_parquet(Project(project).root / "data" / "valid.parquet").sample(fraction=1, shuffle=True, seed=1)
    names = [field.name for field in CONTRACT.fields]
    rows = frame.select(names).to_dicts()
    return [{name: _written(value) for name, value in row.items()} for row in rows], "sha256:" + "0" * 64


def _written(value: Any) -> Any:  # noqa: ANN401
    """A value as a request writes it."""
    return f"{value:%Y-%m-%dT%H:%M:%S}" if isinstance(value, datetime) else value


def measured_bytes(project: Path) -> dict[int, float]:
    """Bytes of a prediction: in JSON lines by 0, in Parquet by the rows of an object."""
    from slipway.log import parquet

    golden, digest = asked_rows(project)
    lines = b"".join(lines_of(golden, digest, LOGGED_UNTIL, MEASURED, 1)).splitlines(keepends=True)
    found = {0: len(b"".join(lines)) / len(lines)}
    for rows in OBJECT_ROWS:
        objects = [lines[start : start + rows] for start in range(0, min(len(lines), 20 * rows), rows)]
        found[rows] = sum(len(parquet.encode(b"".join(one))) for one in objects) / sum(map(len, objects))
    return found


def bytes_table(sizes: dict[int, float]) -> str:
    """Bytes of a prediction as Markdown."""
    lines = ["| kept as | bytes of a prediction | of JSON lines |", "|---|--:|--:|"]
    for rows, size in sizes.items():
        name = f"Parquet, {rows:,} rows in an object" if rows else "JSON lines, in a folder"
        lines.append(f"| {name} | {size:.1f} | {size / sizes[0]:.2f} |")
    return "\n".join(lines) + "\n"


def cost_table(options: argparse.Namespace, sizes: dict[int, float]) -> str:
    """What a day asks of a bucket, by the number of processes that write; with prices, what it costs."""
    from slipway.log.upload import EVERY_S

    prices = options.put_1000, options.get_1000, options.gb_month
    has_prices = all(price is not None for price in prices)
    head = [
        "processes",
        "rows in an object",
        "objects = PUT a day",
        "HEAD a day",
        "GB a day",
        "GET of a run over a week",
    ]
    head += ["price of a day's requests", "price of a day's rows while kept", "price of a daily run"] * has_prices
    lines = [f"{options.daily:,} predictions a day, an object for each process every {EVERY_S} s:\n"]
    lines += [f"| {' | '.join(head)} |", f"|{'--:|' * len(head)}"]
    for processes in options.servers:
        objects = min(processes * DAY_S // EVERY_S, options.daily)
        rows = options.daily / objects
        gigabytes = options.daily * sizes[min(OBJECT_ROWS, key=lambda size: abs(np.log(size / rows)))] / 1e9
        cells = [f"{processes:,}", f"{rows:,.0f}", f"{objects:,}", f"{objects:,}", f"{gigabytes:.2f}"]
        cells.append(f"{WINDOW_DAYS * objects:,}")
        if has_prices:
            put, get, month = prices
            cells.append(f"{objects / 1000 * (put + get):.2f}")
            cells.append(f"{gigabytes * month * options.kept_days / 30:.2f}")
            cells.append(f"{WINDOW_DAYS * objects / 1000 * (get + put / 1000):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def judge_all(options: argparse.Namespace) -> None:
    """Write logs of these sizes, judge each in a process of its own, and print what that took."""
    print("| rows | where | processor, s | seconds | peak, MB | µs a row | verdict |")
    print("|--:|---|--:|--:|--:|--:|---|")
    for rows in options.rows:
        for address in ["", *([f"{options.bucket}/{rows}"] if options.bucket else [])]:
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), options.project, rows, address, with_labels=options.labels)
                if options.max_rows:
                    add_rule(Path(folder), "monitor", f"max_rows: {options.max_rows}")
                done = subprocess.run(
                    [sys.executable, __file__, folder, "--judge"], check=True, stdout=subprocess.PIPE, text=True
                )
            found = json.loads(done.stdout.splitlines()[-1])
            where, each = "bucket" if address else "folder", found["processor"] / rows * 1e6
            line = (
                f"| {rows:,} | {where} | {found['processor']:.1f} | {found['seconds']:.1f} | {found['peak_mb']:,.0f} |"
            )
            line += f" {each:.1f} | {found['verdict']} |"
            print(line, flush=True)


def add_rule(root: Path, section: str, line: str) -> None:
    """Put a line into a section of the policy."""
    policy = root / "policy.yaml"
    text = policy.read_text("utf-8").replace(f"\n{section}:\n", f"\n{section}:\n  {line}\n", 1)
    policy.write_text(text, encoding="utf-8")


def write(root: Path, project: Path, rows: int, address: str, *, with_labels: bool) -> None:
    """Make a project whose log has so many rows of one week, in its folder or at the address of a bucket."""
    from slipway.base.buckets import Bucket
    from slipway.log import parquet, predictions
    from slipway.settings.project import Project
    from slipway.training.bundle import Bundle

    write_log(root, project, 0)
    if address:
        add_rule(root, "serving", f"log: {address}")
    if with_labels:
        metric = Project(root).policy.gates.metric
        add_rule(root, "monitor", f"quality: {{metric: {metric}, drop: 0.03, min_rows: 500, action: propose}}")
        with (root / "policy.yaml").open("a", encoding="utf-8") as policy:
            policy.write("\nlabels: {source: labels, key: [id], delay_days: 1}\n")
    golden, digest = asked_rows(project)[0], Bundle(root / "bundle").digest
    folder, bucket = predictions.folder(Project(root).state, LOGGED), Bucket(address) if address else None
    for day in range(WINDOW_DAYS):
        begin = LOGGED_UNTIL + timedelta(days=day - WINDOW_DAYS)
        for number, block in enumerate(lines_of(golden, digest, begin, rows // WINDOW_DAYS, day)):
            if bucket:
                name = f"predictions/{LOGGED}/day={begin:%Y-%m-%d}/host.1.{day}.{number:012}.parquet"
                bucket.create(name, parquet.encode(block))
            else:
                with (folder / f"{begin:%Y-%m-%d}.host.1.jsonl").open("ab") as file:
                    file.write(block)
            if with_labels:
                tell(root / "labels" / f"{begin:%Y-%m-%d}.csv", block, begin)


def tell(path: Path, block: bytes, at: datetime) -> None:
    """Add what happened to each prediction of a block to a file of labels."""
    from slipway.team import CONTRACT

    fields, has_header = CONTRACT.outcome_fields, path.exists()
    happened = [",".join(map(str, row_of(fields, number, at).values())) for number in range(100)]
    ids = [line[7 : line.index(b'"', 7)].decode() for line in block.splitlines()]
    with path.open("a", encoding="utf-8") as file:
        if not has_header:
            file.write(",".join(["id", *(field.name for field in fields)]) + "\n")
        file.writelines(f"{id_},{happened[number * 37 % 100]}\n" for number, id_ in enumerate(ids))


def judge(root: Path) -> dict[str, Any]:
    """Run the monitor once, as known at the log's end."""
    from slipway.monitoring import run
    from slipway.settings.project import Project
    from slipway.training.bundle import Bundle

    start = time.perf_counter()
    report = run.run(Project(root), LOGGED, Bundle(root / "bundle"), until=LOGGED_UNTIL)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "processor": used.ru_utime + used.ru_stime,
        "seconds": time.perf_counter() - start,
        "peak_mb": used.ru_maxrss / 1e3,
        "verdict": f"{report.verdict.value}: {report.summary}",
    }


if __name__ == "__main__":
    main()
