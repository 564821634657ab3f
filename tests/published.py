"""Objects of a cluster that its own schemas do not know, held against the models of them that are published at npm."""

import json
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from parts import part

ASK = """
const objects = JSON.parse(require("fs").readFileSync(0, "utf-8"));
const said = objects.map(one => {
  const models = require(process.argv[1] + "/" + one.apiVersion);
  try { new models[one.kind](one).validate(); return ""; } catch (error) { return error.message; }
});
console.log(JSON.stringify(said));
"""


def complaints(objects: list[dict[str, Any]], package: str) -> list[str]:
    """What the models in a package say against each of these objects."""
    command = ["node", "-e", ASK, str(part(package))]
    done = subprocess.run(command, input=json.dumps(objects), check=True, capture_output=True, text=True)
    said: list[str] = json.loads(done.stdout)
    return said


def places(value: object, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """The way to each text, number and truth value in an object."""
    if not isinstance(value, dict | list):
        yield path
        return
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    yield from (place for key, one in inner for place in places(one, *path, key))


def spoilt(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The object once for each of its values, with another type there: a model minds that in a field that it knows."""
    for *way, last in places({key: found[key] for key in ("metadata", "spec")}):
        changed = deepcopy(found)
        holder: Any = changed
        for key in way:
            holder = holder[key]
        holder[last] = [1]
        yield changed
