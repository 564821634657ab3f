"""A project whose rows are pictures, with PyTorch: from the questions to an answer, and what is known of it then."""

import base64
import csv
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from clients import recorded, wait_until
from parts import torch_index
from running import RunningProject, give_free_ports, prepare, train

#: One project is enough.
pytestmark = pytest.mark.xdist_group("pictures")

#: Pictures of the test rows with the digits that were meant, as a client has them.
ROWS = """
import base64, json, polars as pl
for row in pl.read_parquet('data/test.parquet').iter_rows(named=True):
    print(json.dumps([row['sheet'], base64.b64encode(row['picture']).decode(), row['written']]))
"""
#: The same pictures, black on white.
TURNED = """
import base64, io, json, sys
from PIL import Image, ImageOps
for text in json.loads(sys.argv[1]):
    written = io.BytesIO()
    ImageOps.invert(Image.open(io.BytesIO(base64.b64decode(text)))).save(written, 'PNG')
    print(base64.b64encode(written.getvalue()).decode())
"""


@pytest.fixture(scope="module")
def digits(render: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProject]:
    """A project of pictures whose model answers in staging."""
    index = torch_index(tmp_path_factory.mktemp("index"))
    with pytest.MonkeyPatch.context() as patch:
        # A project names PyTorch's index, and this is another one of the same name.
        patch.setenv("UV_INDEX", f"pytorch={index}")
        root = render(problem="image", project_name="Digits")
        project = prepare(root)
        give_free_ports(project.root)
        project.commit("Listen on free ports")
        train(project)
        project.release("staging")
        yield project
        project.stop()


@pytest.fixture(scope="module")
def rows(digits: RunningProject) -> list[tuple[int, str, str]]:
    """Number, picture and digit of each test row."""
    return [tuple(json.loads(line)) for line in digits.run("python", "-c", ROWS).stdout.splitlines()]


def asked(rows: list[tuple[int, str, str]]) -> list[dict[str, Any]]:
    return [{"sheet": sheet, "picture": picture} for sheet, picture, _ in rows]


def logged(project: RunningProject) -> list[dict[str, Any]]:
    files = (project.root / ".mlops" / "predictions" / "staging").glob("*.jsonl")
    return [json.loads(line) for file in sorted(files) for line in file.read_text("utf-8").splitlines()]


def in_log(project: RunningProject, prediction: str) -> dict[str, Any]:
    """What the log says of a prediction; a server writes a moment after it has answered."""
    for _ in range(200):
        found = [line for line in logged(project) if line["id"] == prediction]
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{prediction} is not in the log")


def test_pictures_are_read_right_by_all_three_protocols(
    digits: RunningProject, rows: list[tuple[int, str, str]]
) -> None:
    given = asked(rows[:200])

    many = digits.request("POST", "/predict", {"rows": given}).body["predictions"]
    frame = digits.request("POST", "/invocations", {"dataframe_records": given}).body["predictions"]
    tensors = [
        {"name": name, "datatype": datatype, "shape": [200], "data": [row[name] for row in given]}
        for name, datatype in (("sheet", "INT64"), ("picture", "BYTES"))
    ]
    inferred = digits.request("POST", "/v2/models/digits/infer", {"inputs": tensors}).body["outputs"][0]["data"]

    answers = [one["digit"] for one in many]
    assert answers == frame == inferred
    assert sum(answer == meant for answer, (_, _, meant) in zip(answers, rows, strict=False)) > 186
    one = digits.request("POST", "/predict", given[0]).body
    line = in_log(digits, one["id"])
    content = base64.b64decode(given[0]["picture"])
    assert line["row"]["picture"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert 0 < line["row"]["picture.brightness"] < 1
    text = json.dumps(logged(digits))
    assert not [row["sheet"] for row in given if row["picture"][-60:] in text]
    schema = digits.request("GET", "/openapi.json").body["components"]["schemas"]["Scan"]["properties"]["picture"]
    assert schema["contentEncoding"] == "base64"


def test_a_picture_may_come_as_a_file_in_a_form(digits: RunningProject, rows: list[tuple[int, str, str]]) -> None:
    """The fast path passes it on, and what is wrong with it is told as for JSON."""
    address = digits.address("staging") + "/predict"
    sheet, picture, _ = rows[0]
    content = base64.b64decode(picture)

    answer = httpx2.post(address, data={"sheet": str(sheet)}, files={"picture": ("7.png", content)})
    text = httpx2.post(address, data={"sheet": "seven"}, files={"picture": ("7.png", b"no picture")})
    large = httpx2.post(address, data={"sheet": "1"}, files={"picture": ("7.png", bytes(5_000_000))})

    assert answer.json()["digit"] == digits.request("POST", "/predict", asked(rows[:1])[0]).body["digit"]
    line = in_log(digits, answer.json()["id"])
    assert line["row"]["sheet"] == sheet
    assert line["row"]["picture"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (text.status_code, large.status_code) == (422, 413)
    assert {one["field"]: one["detail"] for one in text.json()["errors"]}.keys() == {"sheet", "picture"}
    described = digits.request("GET", "/openapi.json").body["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert {*described} == {"application/json", "multipart/form-data"}


def test_what_is_no_picture_is_refused_and_leaves_no_byte(
    digits: RunningProject, rows: list[tuple[int, str, str]]
) -> None:
    row = asked(rows[:1])[0]
    broken = {
        "and this is not in base64": "%%%%",
        "and this is no PNG or JPEG": base64.b64encode(b"no picture at all").decode(),
        "and this is no whole picture": base64.b64encode(base64.b64decode(row["picture"])[:60]).decode(),
    }

    for said, picture in broken.items():
        answer = digits.request("POST", "/predict", row | {"picture": picture})
        assert answer.status == 422
        assert said in answer.body["errors"][0]["detail"]
    assert digits.request("POST", "/predict", row | {"picture": "A" * 5_000_000}).status == 413
    files = [*(digits.root / ".mlops" / "refused" / "staging").glob("*.jsonl")]
    assert not [file for file in files if "no picture at all" in file.read_text("utf-8")]


def test_a_batch_reads_pictures_from_files_and_answers_as_the_server(
    digits: RunningProject, rows: list[tuple[int, str, str]], tmp_path: Path
) -> None:
    folder, target = tmp_path / "batch", tmp_path / "answers.csv"
    (folder / "scans").mkdir(parents=True)
    lines = ["sheet,picture"]
    for sheet, picture, _ in rows[:30]:
        content = base64.b64decode(picture)
        (folder / "scans" / f"{sheet}.png").write_bytes(content)
        lines.append(f"{sheet},file:scans/{sheet}.png#sha256={hashlib.sha256(content).hexdigest()}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    digits.mlops("batch", str(folder), str(target))
    (folder / "rows.csv").write_text("\n".join([*lines, lines[1].replace("scans/", "../")]), encoding="utf-8")
    refused = digits.mlops("batch", str(folder), str(tmp_path / "other.csv"), check=False)

    served = digits.request("POST", "/predict", {"rows": asked(rows[:30])}).body["predictions"]
    with target.open(encoding="utf-8") as file:
        assert [one["digit"] for one in csv.DictReader(file)] == [one["digit"] for one in served]
    assert refused.exit_code == 1
    assert "leads out of batch/" in refused.stderr


def test_the_monitor_sees_pictures_that_have_changed_and_their_labels(
    digits: RunningProject, rows: list[tuple[int, str, str]]
) -> None:
    """They are black on white instead of white on black, which the numbers beside each picture tell.

    The policy has a slice by the outcome, which no log holds.
    """
    turned = digits.run("python", "-c", TURNED, json.dumps([picture for _, picture, _ in rows[:300]])).stdout.split()
    dark = [(sheet, picture, meant) for (sheet, _, meant), picture in zip(rows[:300], turned, strict=True)]

    digits.mlops("policy", "add", "labels")
    digits.edit("policy.yaml", "key: [id]", "key: [sheet]")
    digits.edit("policy.yaml", "delay_days: 1", "delay_days: 0")
    (digits.root / "data" / "labels").mkdir()
    labels = ["sheet,written", *(f"{sheet},{meant}" for sheet, _, meant in rows)]
    (digits.root / "data" / "labels" / "meant.csv").write_text("\n".join(labels) + "\n", encoding="utf-8")

    answer = digits.request("POST", "/predict", {"rows": asked(dark)}).body["predictions"][0]
    in_log(digits, answer["id"])
    judged = digits.mlops("monitor", "staging", "--json", check=False)
    traced = digits.mlops("trace", answer["id"]).stdout

    report = json.loads(judged.stdout)
    moved = {one["name"]: one["verdict"] for one in report["columns"]}
    assert judged.exit_code == 3
    assert moved["picture.brightness"] == "act"
    assert report["left_out"]["picture"].startswith("each picture is another one")
    assert f"picture = sha256:{hashlib.sha256(base64.b64decode(dark[0][1])).hexdigest()}" in traced
    assert "data/sample/digits.csv.gz md5" in traced
    assert f"{dark[0][2]}, by meant.csv:1" in traced


def test_a_second_version_is_compared_by_test_rows_and_on_requests(
    digits: RunningProject, rows: list[tuple[int, str, str]]
) -> None:
    """The labels are those of the test before. Where there is no GPU, asking for one is refused in a sentence."""
    digits.mlops("policy", "add", "experiment")
    digits.edit("params.yaml", "device: cpu", "device: cuda")
    without = digits.mlops("pipeline", check=False)
    digits.edit("params.yaml", "device: cuda", "device: cpu")
    digits.edit("params.yaml", "epochs: 20", "epochs: 8")
    digits.mlops("pipeline")
    digits.commit("Learn for less long")
    digits.mlops("register")
    digits.challenge("staging", "--mode", "shadow")
    wait_until(lambda: "mlops_challenger_share" in digits.text("/metrics"))

    answer = digits.request("POST", "/predict", {"rows": asked(rows[:300])}).body["predictions"][0]
    sheet, picture, _ = rows[300]
    form: dict[str, Any] = {"data": {"sheet": str(sheet)}, "files": {"picture": ("7.png", base64.b64decode(picture))}}
    httpx2.post(digits.address("staging") + "/predict", **form)
    wait_until(lambda: len(recorded(digits, "shadow")) == 301)
    offline = json.loads(digits.mlops("compare", "1", "2", "--json").stdout)
    live = json.loads(digits.mlops("compare", "--live", "staging", "--json").stdout)
    traced = digits.mlops("trace", answer["id"]).stdout

    assert "the model in model.py cannot learn from these rows: Torch not compiled with CUDA enabled" in without.stderr
    assert "next: mend model.py, features.py or what params.yaml hands to model.py" in without.stderr
    assert offline["how"] == "scored"
    assert offline["better"]["log_loss"] == "first"
    assert [(one["version"], one["predictions"], one["labelled"]) for one in live["arms"]] == [
        (1, 301, 301),
        (2, 301, 301),
    ]
    assert (live["metric"], live["verdict"]["decision"]) == ("log_loss", "wait")
    assert "version 1" in traced
