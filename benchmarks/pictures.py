"""How fast pictures of 32 by 32 pixels are answered, one and 64 in a request, beside other servers with the same model.

The digits of the example are enlarged, and a copy of the project learns them by its own stages. Then its server,
LitServe and BentoML are asked in turns by `wrk`, one thread, eight connections. In the peers are the project's own
contract, features and ONNX session; they neither record nor count what they answer. Needs `wrk`, and a project of
pictures that is set up:

    .venv/bin/python benchmarks/pictures.py PROJECT
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from peers import compare
from serving import machine, package_of, python

SIZE, MANY = 32, 64

#: What is changed in the copy: the size of its pictures, in its contract and its network, and what it learns for.
CHANGES = {
    "contract.py": [("width=8, height=8", f"width={SIZE}, height={SIZE}")],
    "model.py": [
        ("nn.Unflatten(1, (1, 8, 8))", f"nn.Unflatten(1, (1, {SIZE}, {SIZE}))"),
        ("nn.Linear(32 * 4 * 4,", f"nn.Linear(32 * {SIZE // 2} * {SIZE // 2},"),
    ],
}

ENLARGE = """
import base64, gzip, io, sys
from pathlib import Path
import polars as pl
from PIL import Image

def enlarged(text):
    written = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    picture.resize((int(sys.argv[2]),) * 2, Image.Resampling.BICUBIC).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()

rows = pl.read_csv(sys.argv[1], infer_schema=False)
rows = rows.with_columns(picture=pl.Series([enlarged(text) for text in rows["picture"]]))
Path(sys.argv[1]).write_bytes(gzip.compress(rows.write_csv().encode()))
"""

TRAIN = """
from pathlib import Path
from slipway.data.stages import STAGES, run_stage
from slipway.settings.project import Project

project = Project(Path.cwd())
for stage in STAGES:
    run_stage(project, stage)
"""

#: How a peer comes to its answer, of one picture or of many: as the project's server does.
SAME_SESSION = """
import msgspec
from pathlib import Path
from PACKAGE.contract import CONTRACT
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer

scorer = Scorer(Bundle(Path("bundle")))


def answer(asked):
    rows = msgspec.convert(asked.get("rows", [asked]), list[CONTRACT.row])
    if any(CONTRACT.settle(row) is not None for row in rows):
        raise ValueError("no picture of the contract")
    return {"answers": scorer.answers(scorer.score_rows(rows))}
"""


def enlarged(project: Path, copy: Path) -> None:
    """Make a copy of a project whose pictures are larger, and train it."""
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns(".venv", ".git", ".mlops"))
    (copy / ".venv").symlink_to(project / ".venv")
    for name, changes in CHANGES.items():
        module = package_of(copy) / name
        text = module.read_text("utf-8")
        for old, new in changes:
            if old not in text:
                raise SystemExit(f"error: {module.name} of this project does not hold {old}; name one of problem=image")
            text = text.replace(old, new)
        module.write_text(text, encoding="utf-8")
    ours = os.environ | {"PYTHONPATH": str(copy / "src")}
    sample = str(copy / "data" / "sample" / "digits.csv.gz")
    subprocess.run(python(copy, ENLARGE, sample, str(SIZE)), cwd=copy, check=True)
    subprocess.run(python(copy, TRAIN), cwd=copy, check=True, env=ours)


def main() -> None:
    """Train, measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path, help="A generated project of problem=image that is set up.")
    project = parser.parse_args().project.resolve()
    about = machine()
    with tempfile.TemporaryDirectory() as scratch:
        copy, servers = Path(scratch) / project.name, Path(scratch) / "servers"
        servers.mkdir()
        enlarged(project, copy)
        golden = json.loads((copy / "model" / "bundle" / "golden.json").read_bytes())["rows"]
        print(about)
        names = ("this project", "LitServe", "BentoML")
        compare("one picture a request", names, SAME_SESSION, copy, servers, [json.dumps(row) for row in golden])
        many = json.dumps({"rows": (golden * MANY)[:MANY]})
        compare(f"{MANY} pictures a request", names, SAME_SESSION, copy, servers, [many])


if __name__ == "__main__":
    main()
