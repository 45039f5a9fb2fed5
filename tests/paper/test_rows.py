"""No statement is forgotten: each row says where it is shown, what it waits for, or why it is left out."""

import ast
from functools import cache
from pathlib import Path

import pytest
from rows import COUNTS, PAPERS, Row

ROOT = Path(__file__).resolve().parents[2]

ALL = [(f"{letter}{number}", row) for letter, rows in PAPERS.items() for number, row in rows.items()]


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_the_numbers_have_no_gap() -> None:
    for letter, count in COUNTS.items():
        assert list(PAPERS[letter]) == list(range(1, count + 1))


@pytest.mark.parametrize("row", [row for _, row in ALL], ids=[name for name, _ in ALL])
def test_what_a_row_names_exists(row: Row) -> None:
    assert row.tests or row.waits or row.left_out
    assert not (row.left_out and (row.tests or row.waits))
    for location in row.tests:
        file, _, test = location.partition("::")
        assert (ROOT / file).is_file(), location
        assert not test or test in functions_of(ROOT / file), location


def test_a_paper_test_is_named_for_a_row() -> None:
    """``test_claim_a7_..``, ``test_s7_..``: the row of that number must be there."""
    known = {name.lower() for name, _ in ALL} | {"a5", "c1"}  # of PMMC's own invariants
    for path in sorted((ROOT / "tests" / "paper").glob("test_*.py")):
        for test in functions_of(path):
            part = test.removeprefix("test_").removeprefix("claim_").partition("_")[0]
            if part[:1] in "aspk" and part[1:].isdigit():
                assert part in known, test
