"""Whatever a person types: a sentence and nothing written, or a project in order."""

import tempfile
from pathlib import Path

import pytest
from checks import parse, ruff
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from questions import questions
from rendering import Template

# Pieces that mean something to YAML, TOML, Jinja, Python, a shell, Markdown or a file system.
VISIBLE = """\
{{7*7}} {% if #} ' " \\ : # - &a *a !!str | > % @ ` $(id) ${HOME} ~ null yes 0x1f 1e3 2013-01-01 [a] ] = , ; <b> ../ /
// . .. con class match json mlops \u00e4 \u00df \u0130 \u0131 \u00e9 e\u0301 名前 शर्मा 😀 _ a Z 9"""
HIDDEN = ["\n", "\r", "\t", "\x00", "\x1b", "\u2028", "\u202e", "\ufeff", " ", "  "]
PIECES = st.sampled_from([*VISIBLE.split(), *HIDDEN])
# Answers near the border of what is allowed, where a validator that is a little too kind shows.
SHAPES = {
    "project_name": r"[A-Za-z][A-Za-z0-9 _-]{0,50}",
    "package_name": r"[a-z_][a-z0-9_]{0,41}",
    "reviewers": r"nobody|@[A-Za-z0-9-]{1,41}(/[a-z0-9._-]{1,102})?( @[A-Za-z0-9-]{1,41})?",
    "repository": r"[A-Za-z0-9-]{1,41}/[A-Za-z0-9._-]{1,102}",
    "author": r"[^\x00-\x1f\"\\{}<>]{1,50} <[a-z0-9.+-]{1,20}@[a-z0-9-]{1,20}\.[a-z]{1,9}>",
    "data_remote_url": r"(\.\./|/|[A-Z]:/)[^\x00-\x1f\"\\{}<>]{1,50}",
    "azure_account": r"[a-z0-9]{2,25}",
    "s3_endpoint": r"https?://[A-Za-z0-9.:@/_-]{1,60}",
    "image": r"([a-z0-9.-]{1,20}(:[0-9]{1,5})?/)?[a-z0-9._-]{1,20}(/[a-z0-9._-]{1,20})?",
    "description": r"[^\x00-\x1f\"\\{}<>]{1,122}",
}
# What has to be answered before the question is met at all.
BEFORE = {
    "azure_account": {"data_remote": "azure"},
    "s3_endpoint": {"data_remote": "s3"},
    "image": {"size": "standard"},
}


def typed(key: str) -> st.SearchStrategy[str]:
    """Return answers to this question: ordinary text, dangerous pieces, and nearly right ones."""
    pieces = st.lists(PIECES, max_size=12).map("".join)
    return st.one_of(st.from_regex(SHAPES[key], fullmatch=True), pieces, st.text(max_size=200))


def test_every_typed_question_has_a_shape() -> None:
    assert SHAPES.keys() == {question.key for question in questions() if not question.choices}


@pytest.mark.parametrize("key", SHAPES)
def test_an_answer_is_refused_in_a_sentence_or_makes_a_project_in_order(key: str, template: Template) -> None:
    # The same answers in every run: a test that is red once in a while helps nobody. An example is shown as it was
    # found: each attempt to make it smaller renders a project.
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(answer=typed(key))
    def examine(answer: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / "project"
            try:
                template.render(project, **BEFORE.get(key, {}), **{key: answer})
            except ValueError as refusal:
                refused = str(refusal)
            else:
                refused = ""
            if refused:
                assert ", like " in refused
                assert not project.exists()
                return
            parse(project)
            ruff(project, "check", "--no-cache", "--quiet")

    examine()
