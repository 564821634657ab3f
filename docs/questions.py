"""Write docs/questions.md, the reference of the questions, from copier.yml."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "questions.md"


@dataclass(frozen=True)
class Question:
    """One question of copier.yml, with its templates as they stand there."""

    key: str
    help: str
    default: str
    choices: dict[str, str]
    validator: str
    is_asked: bool
    condition: str

    @property
    def is_fact(self) -> bool:
        """Whether it is computed and nobody can answer it."""
        return self.condition == "False"


def questionnaire() -> dict[str, Any]:
    """Return copier.yml as it is, settings included."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "copier.yml").read_text(encoding="utf-8"))
    return loaded


def questions(form: dict[str, Any] | None = None) -> list[Question]:
    """Return what a person can answer, in the order of the form, which is copier.yml unless another is given."""
    every = [_question(key, asked) for key, asked in (form or questionnaire()).items() if not key.startswith("_")]
    return [question for question in every if not question.is_fact]


def _question(key: str, asked: dict[str, Any]) -> Question:
    choices = asked.get("choices", {})
    return Question(
        key=key,
        help=asked.get("help", ""),
        default=asked.get("default", ""),
        choices=choices if isinstance(choices, dict) else {choice: choice for choice in choices},
        validator=asked.get("validator", ""),
        is_asked=asked.get("ask", True),
        condition=str(asked.get("when", "")),
    )


def page() -> str:
    """Return the reference as Markdown."""
    every = questions()
    lines = [
        "# Questions",
        "",
        "What `copier copy` asks, and what it decides without asking. `make docs` writes this page from `copier.yml`.",
        "Any answer can be given on the command line: `--data problem=regression`.",
        "A default in double braces is made from earlier answers.",
        "",
        "## Asked",
    ]
    lines += [line for question in every if question.is_asked for line in _section(question)]
    lines += [
        "",
        "## Not asked",
        "",
        "Each has a default that suits most projects. `--data` sets it, `--ask KEY` has it asked.",
    ]
    lines += [line for question in every if not question.is_asked for line in _section(question)]
    return "\n".join(lines) + "\n"


def _section(question: Question) -> Iterator[str]:
    yield from ("", f"### `{question.key}`", "", _plain(question.help), "")
    yield f"- Default: {_shown(question.default)}"
    if question.condition:
        yield f"- Asked when: `{question.condition}`"
    for label, value in question.choices.items():
        yield f"- `{value}`" + ("" if label == value else f": {label}")


def _plain(text: str) -> str:
    # A help line that follows an earlier answer holds one sentence per case.
    return f"`{text}`" if "{%" in text else text


def _shown(default: str) -> str:
    return f"`{default}`" if default else "empty"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
