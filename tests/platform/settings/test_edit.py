"""Any legal environment file survives a promotion, a challenge and their ends with only the named values changed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from slipway.base.errors import MlopsError
from slipway.delivery.environments import changed
from slipway.settings.edit import REMOVED, edited, inserted
from slipway.settings.environment import Challenger, Environment, Release
from slipway.settings.params import with_model

OLD, NEW, TRIED = (
    Release(version=number, digest=f"sha256:{sign * 64}", commit=sign * 40, image=image)
    for number, sign, image in ((1, "a", f"r.example/m@sha256:{'d' * 64}"), (2, "1", None), (3, "c", None))
)
WITH_IMAGE = msgspec.structs.replace(NEW, version=4, image=f"r.example/m@sha256:{'e' * 64}")
CHALLENGER = Challenger(**msgspec.structs.asdict(TRIED), mode="canary", share=0.5, key="on")
PROPERTY = settings(max_examples=60, deadline=None)
OPEN, CLOSE = "{}"
START = "alias: staging\nserve: {host: h, port: 1}\n"


@dataclass
class Written:
    """A file as somebody may have written it: each line with the setting that it belongs to, or none."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(line for line, _ in self.lines) + "\n"

    def without(self, *owners: str) -> list[str]:
        return [line for line, owner in self.lines if owner not in owners and line.strip()]


def quoted(draw: st.DrawFn, value: object) -> str:
    if not isinstance(value, str):
        return str(value)
    styles = ["'{}'", '"{}"'] + (["{}"] if yaml.safe_load(value) == value else [])
    return draw(st.sampled_from(styles)).format(value)


@st.composite
def files(draw: st.DrawFn, *, with_challenger: bool) -> Written:
    """Settings in any order and style, with comments in any column, blank lines and anchors."""
    made = Written()
    remarks = iter(range(1000))

    def remark() -> str:
        return f"# c{next(remarks)}"

    def between(owner: str) -> None:
        for column in draw(st.lists(st.integers(-1, 6), max_size=2)):
            made.lines.append(("" if column < 0 else " " * column + remark(), owner))

    def end() -> str:
        return f"{' ' * draw(st.integers(1, 3))}{remark()}" if draw(st.booleans()) else ""

    def anchor(name: str) -> str:
        return f"&{name} " if draw(st.booleans()) else ""

    def block(name: str, values: dict[str, object]) -> None:
        pairs = [(key, anchor(f"{name}-{key}") + quoted(draw, value)) for key, value in values.items()]
        pairs = draw(st.permutations(pairs))
        style = draw(st.sampled_from(["block", "flow", "lines"]))
        if style == "block":
            made.lines.append((f"{name}: {anchor(name)}".rstrip() + end(), name))
            indent = " " * draw(st.integers(1, 5))
            for key, value in pairs:
                between(name)
                made.lines.append((f"{indent}{key}:{' ' * draw(st.integers(1, 2))}{value}{end()}", name))
        elif style == "flow":
            room = " " * draw(st.integers(0, 1))
            told = ", ".join(f"{key}: {value}" for key, value in pairs)
            made.lines.append((f"{name}: {anchor(name)}{OPEN}{room}{told}{room}{CLOSE}{end()}", name))
        else:
            made.lines.append((f"{name}: {OPEN}{end()}", name))
            for key, value in pairs:
                between(name)
                made.lines.append((f"  {key}: {value},{end()}", name))
            made.lines.append((f"  {CLOSE}{end()}", name))

    settings = ["alias", "serve", "champion"] + (["challenger"] if with_challenger else [])
    between("")
    if draw(st.booleans()):
        made.lines.append(("---", ""))
    names_champion = draw(st.booleans())
    for name in draw(st.permutations(settings)):
        if name == "alias":
            made.lines.append((f"alias: {anchor('alias')}{quoted(draw, 'staging')}{end()}", ""))
        elif name == "serve":
            block("serve", {"host": "127.0.0.1", "port": 8001})
        elif name == "champion" and not names_champion:
            made.lines.append((f"champion:{draw(st.sampled_from([' null', ' ~', '']))}{end()}", "champion"))
        else:
            release = OLD if name == "champion" else CHALLENGER
            block(name, {key: value for key, value in msgspec.structs.asdict(release).items() if value is not None})
        between("")
    return made


def read(text: str) -> Environment:
    return msgspec.convert(yaml.safe_load(text), Environment)


def remarks(text: str) -> list[str]:
    return re.findall(r"# c\d+", text)


def is_within(some: list[str], all_of_it: list[str]) -> bool:
    """Whether some lines, or comments, are among others, in this order."""
    others = iter(all_of_it)
    return all(one in others for one in some)


def keeps_remarks(written: Written, text: str) -> bool:
    """Whether all comments are there but those beside an image or a key, which may go with their lines."""
    beside = {line for line, _ in written.lines if re.match(r"\s+(image|key):", line)}
    lasting = [one for line, _ in written.lines if line not in beside for one in remarks(line)]
    return is_within(lasting, remarks(text)) and is_within(remarks(text), remarks(written.text))


@pytest.mark.parametrize("release", [NEW, WITH_IMAGE])
@PROPERTY
@given(written=files(with_challenger=True))
def test_a_promotion_changes_the_champion_and_nothing_else(release: Release, written: Written) -> None:
    text = changed(written.text, "staging.yaml", {"champion": release})

    assert read(text) == msgspec.structs.replace(read(written.text), champion=release)
    assert keeps_remarks(written, text)
    assert is_within(written.without("champion"), text.splitlines())


@PROPERTY
@given(written=files(with_challenger=False))
def test_a_challenge_adds_a_challenger_and_its_end_gives_the_same_lines(written: Written) -> None:
    tried = changed(written.text, "staging.yaml", {"challenger": CHALLENGER})
    ended = changed(tried, "staging.yaml", {"challenger": None})

    assert read(tried) == msgspec.structs.replace(read(written.text), challenger=CHALLENGER)
    assert is_within(written.without(), tried.splitlines())
    assert [line for line in ended.splitlines() if line.strip()] == written.without()


@PROPERTY
@given(written=files(with_challenger=True))
def test_another_challenge_changes_the_challenger_and_nothing_else(written: Written) -> None:
    another = Challenger(**msgspec.structs.asdict(WITH_IMAGE), mode="shadow", share=1.0)

    text = changed(written.text, "staging.yaml", {"challenger": another})

    assert read(text) == msgspec.structs.replace(read(written.text), challenger=another)
    assert keeps_remarks(written, text)
    assert is_within(written.without("challenger"), text.splitlines())


@PROPERTY
@given(written=files(with_challenger=True))
def test_a_challenger_that_wins_is_the_champion_and_its_lines_go(written: Written) -> None:
    text = changed(written.text, "staging.yaml", {"champion": TRIED, "challenger": None})

    assert read(text) == msgspec.structs.replace(read(written.text), champion=TRIED, challenger=None)
    assert is_within(written.without("champion", "challenger"), text.splitlines())


@PROPERTY
@given(written=files(with_challenger=False))
def test_a_rollback_brings_the_file_back_but_for_quotes_that_a_value_needed(written: Written) -> None:
    before = changed(written.text, "staging.yaml", {"champion": TRIED})

    text = changed(changed(before, "staging.yaml", {"champion": NEW}), "staging.yaml", {"champion": TRIED})

    assert text.replace('"', "").replace("'", "") == before.replace('"', "").replace("'", "")


def test_a_comment_in_the_first_column_does_not_end_the_champion() -> None:
    signed = f"champion:\n  version: 1\n# signed off\n  digest: {OLD.digest}\n  commit: {OLD.commit}\n"

    text = changed(START + signed, "staging.yaml", {"champion": TRIED})

    assert text == START + signed.replace("version: 1", "version: 3").replace(OLD.digest, TRIED.digest).replace(
        OLD.commit, TRIED.commit
    )


def test_a_release_that_two_settings_share_is_not_changed_for_one_of_them() -> None:
    shared = START + (
        f"champion: &now\n  version: 1\n  digest: {OLD.digest}\n  commit: {OLD.commit}\n"
        "challenger: {<<: *now, mode: canary}\n"
    )
    assert read(shared).challenger is not None

    with pytest.raises(MlopsError, match=r"staging\.yaml cannot be changed in these places alone"):
        changed(shared, "staging.yaml", {"champion": NEW})


def test_a_key_that_stands_twice_is_refused() -> None:
    named = f"champion:\n  version: 1\n  digest: {OLD.digest}\n  commit: {OLD.commit}\n"
    doubled = f"{START}champion: null\n{named}"
    assert read(doubled).champion == msgspec.structs.replace(OLD, image=None)

    with pytest.raises(MlopsError, match=r"staging\.yaml cannot be changed in these places alone"):
        changed(doubled, "staging.yaml", {"champion": NEW})


def test_a_small_number_stays_a_number_and_a_list_in_a_line_becomes_another() -> None:
    """YAML 1.1 reads 1e-05 as a text."""
    before = "seed: 7\ndata: {source: a, as_of: 2014-01-01}\nsplit: {by: digest}\n"
    text = f"{before}model:\n  rate: 0.1 # slow\n  hidden: [32, 16] # two\n"

    assert with_model(text, {"rate": 1e-05, "hidden": [64], "decay": 1e16}) == (
        f"{before}model:\n  rate: 1.0e-05 # slow\n  hidden: [64] # two\n  decay: 1.0e+16\n"
    )


def test_what_would_be_no_legal_settings_is_refused() -> None:
    text = f"{START}champion: null\n"

    with pytest.raises(MlopsError, match=r"set by hand: serve\.port: 70000"):
        edited(text, {"serve.port": 70000}, Environment, "staging.yaml")
    with pytest.raises(MlopsError, match="cannot be changed"):
        edited(text, {"alias": REMOVED}, Environment, "staging.yaml")


def test_a_block_goes_below_its_setting_with_its_comments() -> None:
    text = "one:\n    a: 1  # a\n    # end of one\n\n# two\ntwo: {b: 2}\n"

    assert inserted(text, "one", "# Why.\nc:\n  d: 3\n", "f.yaml") == (
        "one:\n    a: 1  # a\n    # end of one\n    # Why.\n    c:\n      d: 3\n\n# two\ntwo: {b: 2}\n"
    )
    assert inserted(text, "", "# Why.\nc: 3\n", "f.yaml") == text + "\n# Why.\nc: 3\n"
    for place in ("two", "two.b", "three"):
        with pytest.raises(MlopsError, match=r"f\.yaml cannot take this block"):
            inserted(text, place, "c: 3\n", "f.yaml")
    with pytest.raises(MlopsError, match=r"f\.yaml cannot take this block"):
        inserted(text, "one", "a: 2\n", "f.yaml")
