"""How fast the same model is behind other servers, by requests a second.

    .venv/bin/python benchmarks/peers.py PROJECT

Each peer is measured twice, in an environment that is thrown away: once as its own pages show it, where a request
becomes a data frame of pandas and the trained scikit-learn model scores it; and once with this project's own contract,
features and ONNX session inside. It is asked in turns with the project's server: by `wrk`, one thread, eight
connections. Peers neither record nor count what they answer, and as their pages show them they check nothing, either.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from serving import SEAL, SERVER, machine, package_of, post_script, python, trained

ROUNDS = 3
SECONDS = 5
READY_S = 120

#: What the project itself does without. MLflow does not take pandas 3.
FRAMES = ("pandas<3", "pyarrow")

#: How a peer comes to its answer; `common.py` in each variant.
SAME_SESSION = """
import msgspec
from pathlib import Path
from PACKAGE.contract import CONTRACT
from slipway.training.bundle import Bundle
from slipway.training.scoring import Scorer

scorer = Scorer(Bundle(Path("bundle")))


def answer(row):
    scores = scorer.score_rows([msgspec.convert(row, CONTRACT.row)])
    return {"answer": scorer.answers(scores)[0]}
"""

PANDAS = """
import joblib
import pandas as pd

model = joblib.load("model.joblib")
NUMBERS = ["distance", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]


def answer(row):
    frame = pd.DataFrame([row])
    departs = pd.to_datetime(frame["departs"])
    known = frame[["carrier", "origin", *NUMBERS]].assign(
        hour=departs.dt.hour + departs.dt.minute / 60, weekday=departs.dt.weekday
    )
    return {"answer": bool(model.predict_proba(known)[0, 1] >= 0.3)}
"""

#: Trains the project's kind of model, with its parameters, on its rows, as a table of pandas.
TRAIN = """
import sys

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from PACKAGE import model as team
from slipway.settings.project import Project

params = Project.find().params
rows = pd.read_parquet("data/train.parquet")
known = rows[["carrier", "origin", "distance", "temp", "humid", "wind_speed", "precip", "pressure", "visib"]].assign(
    hour=rows.departs.dt.hour + rows.departs.dt.minute / 60, weekday=rows.departs.dt.weekday
)
codes = make_column_transformer((OrdinalEncoder(), ["carrier", "origin"]), remainder="passthrough")
model = make_pipeline(codes, *(step for _, step in team.build(params.seed, **params.model).steps))
joblib.dump(model.fit(known.astype({"carrier": str, "origin": str}), rows.arr_delay > team.LATE_MINUTES), sys.argv[1])
"""

VARIANTS = {"as their pages show, pandas and scikit-learn": PANDAS, "the same ONNX session inside": SAME_SESSION}

LITSERVE = """
import litserve as ls
from common import answer


class API(ls.LitAPI):
    def setup(self, device):
        pass

    def decode_request(self, request):
        return request

    def predict(self, row):
        return answer(row)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    ls.LitServer(API(), accelerator="cpu").run(port=PORT, log_level="warning", generate_client_file=False)
"""

BENTOML = """
import bentoml
from common import answer


@bentoml.service(workers=1)
class Flights:
    @bentoml.api
    def predict(self, row: dict) -> dict:
        return answer(row)
"""

MLFLOW = """
import mlflow
from common import answer


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [answer(row) for row in model_input.to_dict("records")]


mlflow.pyfunc.save_model("model", python_model=Model())
"""


@dataclass(frozen=True)
class Peer:
    """A server of others: what it needs, what is written down first, and how it starts."""

    packages: tuple[str, ...]
    files: dict[str, str]
    commands: tuple[str, ...]
    path: str
    body: str


PEERS = {
    "LitServe": Peer(("litserve",), {"api.py": LITSERVE}, ("python api.py",), "/predict", "ROW"),
    "BentoML": Peer(
        ("bentoml",),
        {"service.py": BENTOML},
        ("bentoml serve service:Flights --port PORT",),
        "/predict",
        '{"row": ROW}',
    ),
    "mlflow models serve": Peer(
        ("mlflow",),
        {"save.py": MLFLOW},
        ("python save.py", "mlflow models serve --model-uri model --env-manager local --workers 1 --port PORT"),
        "/invocations",
        '{"dataframe_records": [ROW]}',
    ),
}


@contextmanager
def started(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    """Run a command with all its children until the block ends."""
    log = (folder / "log").open("ab")
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def peer_serves(stack: ExitStack, peer: Peer, common: str, project: Path, folder: Path, port: int) -> None:
    """Start a peer in an environment of its own, over the project's."""
    package = package_of(project).name
    for file, text in {"common.py": common, **peer.files}.items():
        (folder / file).write_text(text.replace("PACKAGE", package).replace("PORT", str(port)), encoding="utf-8")
    # What is the copy of a project has that one's environment, and modules of its own.
    env = os.environ | {"PYTHONPATH": f"{project / 'src'}:{folder}"}
    same = _as_in(project, ("msgspec", "numpy", "onnxruntime", "scikit-learn", "joblib"))
    needs = [word for one in (*peer.packages, *FRAMES, *same) for word in ("--with", one)]
    run = ["uv", "run", "--quiet", "--no-sync", "--project", str(project), *needs]
    *before, last = [command.replace("PORT", str(port)).split() for command in peer.commands]
    for command in before:
        subprocess.run([*run, *command], cwd=folder, env=env, check=True)
    stack.enter_context(started([*run, *last], folder, env))


def _as_in(project: Path, names: tuple[str, ...]) -> list[str]:
    """Requirements for the versions that the project has."""
    code = "import sys; from importlib.metadata import version\nfor n in sys.argv[1:]: print(f'{n}=={version(n)}')"
    return subprocess.run(python(project, code, *names), capture_output=True, text=True, check=True).stdout.split()


def ask(port: int, path: str, body: str) -> bool:
    """Whether a server answers a row."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def per_second(port: int, path: str, script: Path) -> float:
    """Requests per second, as `wrk` counts them."""
    options = ["--threads", "1", "--connections", "8", "--duration", f"{SECONDS}s", "--script", str(script)]
    output = subprocess.run(
        ["wrk", *options, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True
    ).stdout
    if "Non-2xx" in output:
        raise SystemExit(f"error: not every request was answered\n{output}")
    return float(output.split("Requests/sec:")[1].split()[0])


def start(
    stack: ExitStack, name: str, common: str, project: Path, scratch: Path, asked: Sequence[str]
) -> tuple[int, str, Path]:
    """Start a server and wait for its first answer; return its port, path and the script that asks all of this."""
    folder = scratch / f"{name} {len(list(scratch.iterdir()))}".replace(" ", "-")
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    subprocess.run(python(project, SEAL, str(folder / "bundle")), cwd=project, check=True)
    path, form = (PEERS[name].path, PEERS[name].body) if name in PEERS else ("/predict", "ROW")
    bodies = [form.replace("ROW", one) for one in asked]
    script = post_script(folder, bodies, path)
    if name in PEERS:
        (folder / "model.joblib").symlink_to(scratch / "model.joblib")
        peer_serves(stack, PEERS[name], common, project, folder, port)
    else:
        server = python(project, SERVER, str(port), "server", str(folder))
        ours = os.environ | {"PYTHONPATH": str(project / "src")}
        stack.enter_context(started(["env", "-C", str(project), *server], folder, ours))
    deadline = time.monotonic() + READY_S
    while not ask(port, path, bodies[0]):
        if time.monotonic() > deadline:
            raise SystemExit(f"error: {name} does not answer\n{(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.2)
    return port, path, script


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=trained, help="A generated project whose pipeline has run.")
    project = parser.parse_args().project
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        package = package_of(project).name
        frames = [word for one in FRAMES for word in ("--with", one)]
        train = ["uv", "run", "--quiet", "--no-sync", *frames, "python", "-c", TRAIN.replace("PACKAGE", package)]
        subprocess.run([*train, f"{scratch}/model.joblib"], cwd=project, check=True)
        golden = json.loads((project / "model/bundle/golden.json").read_bytes())["rows"]
        rows = [json.dumps(row) for row in golden if None not in row.values()]  # a data frame knows no missing value
        for title, common in VARIANTS.items():
            compare(title, ("this project", *PEERS), common, project, Path(scratch), rows)


def compare(title: str, names: Sequence[str], common: str, project: Path, scratch: Path, asked: Sequence[str]) -> None:
    """Ask the servers of these names in turns, and print a table."""
    with ExitStack() as stack:
        there = {name: start(stack, name, common, project, scratch, asked) for name in names}
        rates = [{name: per_second(*one) for name, one in there.items()} for _ in range(ROUNDS)]
    print(f"\n| {title} | requests/s | this project's, times |\n|---|--:|--:|")
    for name in there:
        times = statistics.median(one["this project"] / one[name] for one in rates)
        print(f"| {name} | {statistics.median(one[name] for one in rates):,.0f} | {times:.1f} |")


if __name__ == "__main__":
    main()
