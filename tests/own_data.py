"""Putting one of the five data sets of other people into a project, by the page `docs/your-own-data.md`."""

import re
import shutil
from pathlib import Path

SETS = Path(__file__).parent / "platform" / "own_data"
NAMES = ("titanic", "seattle", "tumours", "hours", "cancelled")
PACKAGE = "flight_delays"


def blocks(page: str, language: str) -> list[str]:
    """What stands in the blocks of a page that are for no file."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def put(name: str, root: Path) -> list[str]:
    """Do what the page says by hand; return the files that somebody writes or changes for it."""
    source = SETS / name
    shutil.rmtree(root / "data" / "sample")
    (root / "tests" / "test_flights.py").unlink()
    shutil.copytree(source / "raw", root / "data" / "raw")
    written = []
    for path in sorted((source / "package").glob("*.py")):
        shutil.copyfile(path, root / "src" / PACKAGE / path.name)
        written.append(f"src/{PACKAGE}/{path.name}")
    for setting in ("params.yaml", "policy.yaml"):
        shutil.copyfile(source / setting, root / setting)
        written.append(setting)
    if (source / "package" / "prepare.py").is_file():
        page = (root / "docs" / "your-own-data.md").read_text("utf-8")
        stage, _ = blocks(page, "yaml")
        with (root / "dvc.yaml").open("a", encoding="utf-8") as pipeline:
            pipeline.write("\n" + stage)
        written.append("dvc.yaml")
    _write_cards(name, root)
    return [*written, "data/README.md", "docs/model.md"]


def _write_cards(name: str, root: Path) -> None:
    headings = ("Source", "Licence", "How it was collected", "How it was labelled", "Known problems")
    told = "".join(f"\n## {heading}\n\nSee the page of its package.\n" for heading in headings)
    (root / "data" / "README.md").write_text(f"# Data card: {name}\n{told}", encoding="utf-8")
    (root / "docs" / "model.md").write_text(f"# Model card: {name}\n\nTo try this project.\n", encoding="utf-8")
