"""Write what follows from ownership.toml into copier.yml, the project's .gitattributes and docs/updating.md."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Owner:
    """A class of files: what people call it, what an update does with it, and the patterns of its files."""

    name: str
    title: str
    update: str
    files: list[str]


@cache
def owners() -> list[Owner]:
    """Return the classes in the order in which their lines hold, the later over the earlier."""
    return [Owner(name=name, **entry) for name, entry in _listed().items() if name != "only"]


@cache
def only() -> dict[str, list[str]]:
    """Return what only some projects have: files and folders by the fact of copier.yml that decides about them."""
    parts: dict[str, list[str]] = _listed()["only"]
    return parts


def part_of(path: str) -> str | None:
    """Return the fact without which a project has no such file; None for a file that every project has."""
    return next((fact for fact, parts in only().items() if GitIgnoreSpec.from_lines(parts).match_file(path)), None)


@cache
def _listed() -> dict[str, Any]:
    return tomllib.loads((ROOT / "ownership.toml").read_text(encoding="utf-8"))


def owner_of(path: str) -> str | None:
    """Say to which class the list puts a file of a project; None for one that it does not know."""
    found = [owner.name for owner in owners() if _matches(owner.name).match_file(path)]
    return found[-1] if found else None


@cache
def _matches(owner: str) -> GitIgnoreSpec:
    return next(GitIgnoreSpec.from_lines(known.files) for known in owners() if known.name == owner)


def derived() -> dict[Path, str]:
    """Return each file that follows from the list, as it should be."""
    settings, page = ROOT / "copier.yml", ROOT / "docs" / "updating.md"
    return {
        settings: _with_block(settings, _settings(), "# ownership.toml, by `make docs`", "# end of ownership.toml"),
        page: _with_block(page, _table(), "<!-- ownership.toml, by `make docs` -->", "<!-- end -->"),
        ROOT / "template" / ".gitattributes.jinja": "\n".join(_attributes()) + "\n",
    }


def _settings() -> Iterator[str]:
    """Copier's two lists: `yours` is skipped where it exists, `once` by an update, and an absent part always."""
    files = {owner.name: owner.files for owner in owners()}
    yield "_skip_if_exists:"
    yield from (f"  - {pattern}" for pattern in files["yours"])
    yield "_exclude:"
    for pattern in files["once"]:
        folder = pattern.removesuffix("/**")
        yield f"""  - "{{% if _copier_operation == 'update' %}}{folder}{{% endif %}}\""""
    for fact, parts in only().items():
        yield from (f"""  - "{{% if not ({fact} | default(true)) %}}{part}{{% endif %}}\"""" for part in parts)


def _attributes() -> Iterator[str]:
    yield "# The same bytes on every system, so that digests agree and updates merge."
    yield "* text=auto eol=lf"
    yield ""
    yield "# The platform is replaced as a whole: a review shows the wiring and folds it up."
    yield "/vendor/** linguist-generated"
    yield ""
    yield "# Who owns a file on an update of the template. A later line holds over an earlier; without one it is yours."
    for owner in owners():
        value = "!owner" if owner.name in ("yours", "once") else f"owner={owner.name}"
        for pattern in owner.files:
            fact, line = part_of(pattern.strip("/")), f"{pattern} {value}"
            yield f"{{%- if {fact} %}}\n{line}\n{{%- endif %}}" if fact else line


def _table() -> Iterator[str]:
    yield "| class | files | on update |"
    yield "|---|---|---|"
    for owner in reversed(owners()):
        names = ", ".join(f"`{pattern.removeprefix('/').removesuffix('**')}`" for pattern in owner.files)
        yield f"| {owner.title} | {names} | {owner.update} |"


def _with_block(path: Path, lines: Iterator[str], first: str, last: str) -> str:
    before, _, rest = path.read_text(encoding="utf-8").partition(first + "\n")
    _, found, after = rest.partition(last + "\n")
    if not found:
        raise ValueError(f"{path} has no lines {first!r} and {last!r} around what is written into it")
    return before + "\n".join([first, *lines, last]) + "\n" + after


if __name__ == "__main__":
    for path, text in derived().items():
        path.write_text(text, encoding="utf-8")
