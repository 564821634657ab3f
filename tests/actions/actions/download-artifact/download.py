"""Copy artifacts into the workspace: one as it is, several into a folder each."""

import os
import shutil
import sys
from pathlib import Path

store = Path(os.environ["STUB_ARTIFACTS"])
target = Path(os.environ["FOLDER"]).expanduser()
name = os.environ["NAME"]
if name and not (store / name).is_dir():
    sys.exit(f"no artifact named {name} was uploaded before")
chosen = [store / name] if name else sorted(store.glob(os.environ["PATTERN"]))
for artifact in chosen:
    flat = name or os.environ["MERGE"] == "true"
    shutil.copytree(artifact, target if flat else target / artifact.name, dirs_exist_ok=True)
    print(artifact.name)
