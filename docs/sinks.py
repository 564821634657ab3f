"""Write docs/sinks.md: every place that the prediction log can be kept in, and what proves each."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sinks.md"
TESTS = ROOT / "tests" / "platform"
MATRIX = TESTS / "log" / "test_sinks.py"

#: By the scheme of its address: how it is written in policy.yaml, and the extra of slipway-mlops that it needs.
SINKS = {
    "folder": ("nothing: a folder of the machine", "none"),
    "s3": ("`s3://bucket/folder`", "`bucket`"),
    "az": ("`az://container/folder`, or `azure://`", "`bucket`"),
}
#: What only a bucket has to show, once: it is the same code for each of them.
ALONE = (
    "log/test_bucket.py::test_nothing_that_was_acknowledged_is_lost_or_doubled_by_kill_9",
    "log/test_bucket.py::test_a_bucket_that_is_away_is_tried_for_ever_and_then_gets_everything",
    "log/test_bucket.py::test_a_full_disk_costs_what_is_counted_and_an_upload_frees_it",
    "log/test_joining.py::test_kill_9_loses_and_doubles_nothing_for_whoever_reads_meanwhile",
    "log/test_joining.py::test_what_is_erased_while_objects_are_joined_stays_erased",
    "log/test_bucket_of_a_project.py::test_the_monitor_says_of_a_bucket_what_it_says_of_a_folder",
    "log/test_bucket_of_a_project.py::test_what_a_supervised_server_answers_is_in_the_bucket_when_it_has_stopped",
    "evidence/test_rights.py::test_each_identity_of_a_log_has_what_the_table_says_or_is_told",
)
HEAD = """\
# Places of the prediction log, and what proves each

`serving.log` in `policy.yaml` names one; what each needs says a project's own page,
[Serving](../template/vendor/slipway/docs/serving.md#the-log-in-a-bucket).
Answers, refusals and the record of erasures are kept there. `make docs` writes this page from the tests.
Google Cloud Storage is not offered: the client of buckets speaks its XML interface, and the emulator that
shows `gs://` as a data remote answers neither HEAD nor DELETE there, and names no ETag.

| choice | `serving.log` | extra | tried with |
|---|---|---|---|
"""


def page() -> str:
    """Return the tables as Markdown."""
    stores = _functions(ROOT / "tests" / "stores.py")
    rows = [
        f"| {name} | {address} | {extra} | {(ast.get_docstring(stores[f'{name}_log']) or '').rstrip('.')} |\n"
        for name, (address, extra) in SINKS.items()
    ]
    outside = (
        "| another | what the distribution says that brings it | its own | `test_the_log_of_the_page_is_kept_in_the_"
        "folder_of_its_address`: [the example of the seam](../template/vendor/slipway/docs/seams.md) |\n"
    )
    matrix = f"\n| shown by | {' | '.join(SINKS)} |\n|---|{'---|' * len(SINKS)}\n" + "".join(_matrix())
    alone = "\nWith a bucket of S3's language alone, as it is the same code for each bucket:\n\n"
    return HEAD + "".join(rows) + outside + matrix + alone + "".join(f"- `tests/platform/{one}`\n" for one in ALONE)


def _matrix() -> list[str]:
    tests = [(name, node) for name, node in _functions(MATRIX).items() if name.startswith("test_")]
    found = []
    for name, node in tests:
        is_of_buckets = any("OF_A_BUCKET" in ast.unparse(decorator) for decorator in node.decorator_list)
        is_of_azure = any("['az']" in ast.unparse(decorator) for decorator in node.decorator_list)
        shown = ["az"] if is_of_azure else ["s3", "az"] if is_of_buckets else [*SINKS]
        cells = ["yes" if sink in shown else "" for sink in SINKS]
        found.append(f"| `{name}` | {' | '.join(cells)} |\n")
    return found


def missing() -> list[str]:
    """The tests that the page names and that are nowhere."""
    named = [one.partition("::") for one in ALONE]
    return [name for file, _, name in named if name not in _functions(TESTS / file)]


def _functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
