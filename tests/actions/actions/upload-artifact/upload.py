"""Copy what the patterns match below the folder that all their fixed parts share."""

import glob
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path


def root_of(pattern: str) -> Path:
    """The part of a pattern before its first wildcard."""
    fixed = []
    for part in Path(pattern).parts:
        if re.search(r"[*?\[]", part):
            break
        fixed.append(part)
    return Path(*fixed).absolute()


def matches(pattern: str) -> Iterator[Path]:
    """Every file that a pattern names, or that lies in a folder it names."""
    for name in glob.glob(pattern, recursive=True, include_hidden=True):  # noqa: PTH207 - may be absolute
        path = Path(name).absolute()
        yield from (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def hidden(file: Path, root: Path) -> bool:
    """Whether the file, or a folder on the way to it from the root, has a dot in front."""
    return any(part.startswith(".") for part in (root.name, *file.relative_to(root).parts))


def main() -> None:
    """Upload, or say why not."""
    lines = [line.strip() for line in os.environ["PATTERNS"].splitlines() if line.strip()]
    out = {file for line in lines if line.startswith("!") for file in matches(line[1:])}
    found: dict[Path, Path] = {}
    for line in (line for line in lines if not line.startswith("!")):
        root = root_of(line)
        for file in set(matches(line)) - out:
            if os.environ["HIDDEN"] == "true" or not hidden(file, root):
                found[file] = root
    if not found:
        print(f"no files were found at {', '.join(lines)}")
        sys.exit(os.environ["IF_NONE"] == "error")

    target = Path(os.environ["STUB_ARTIFACTS"], os.environ["NAME"])
    if target.exists() and os.environ["OVERWRITE"] != "true":
        sys.exit(f"an artifact named {target.name} was uploaded before")
    shutil.rmtree(target, ignore_errors=True)
    roots = {root_of(line) for line in lines if not line.startswith("!")}
    top = Path(os.path.commonpath([root.parent if root.is_file() else root for root in roots]))
    for file in sorted(found):
        copy = target / file.relative_to(top)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        print(copy.relative_to(target))


main()
