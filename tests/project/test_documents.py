"""What code and tests cite stands in the documents, and what the documents name exists."""

import re
from pathlib import Path

import pytest

from multipaxos.core import reasons
from multipaxos.host.config import load

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("tests/**/*.txt"), *ROOT.glob("docs/*.md")]


def cited(pattern: str) -> set[str]:
    found: set[str] = set()
    for path in TEXTS:
        found.update(re.findall(pattern, path.read_text(encoding="utf-8")))
    return found


def defined(document: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, (ROOT / "docs" / document).read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(
    ("cited_as", "document", "defined_as"),
    [
        (r"rule-R(\d+)\b", "rules.md", r"^\*\*rule-R(\d+) "),
        (r"trap-T(\d+)\b", "traps.md", r"^\*\*T(\d+)\*\*"),
        (r"\bI(1?\d)\b: ", "invariants.md", r"^\| I(\d+) \|"),
        (r"PMMC A(\d)\b", "invariants.md", r"^\| PMMC A(\d) \|"),
        (r"claim-A(\d+)\b", "sources.md", r"^\| claim-A(\d+) \|"),
        (r"zk-(\d+)\b", "zookeeper.md", r"^(\d+)\. "),
    ],
)
def test_what_is_cited_is_written_down(cited_as: str, document: str, defined_as: str) -> None:
    missing = cited(cited_as) - defined(document, defined_as)
    assert not missing, f"cited, but not in docs/{document}: {sorted(missing)}"


def test_every_reason_the_core_gives_is_in_the_catalogue() -> None:
    used: set[str] = set()
    for path in (ROOT / "src/multipaxos/core").glob("*.py"):
        used.update(re.findall(r'\.note\(\s*"([a-z_.]+)"', path.read_text(encoding="utf-8")))
    assert used == set(reasons.REASONS)


def test_the_configuration_in_the_readme_is_accepted(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "replica.toml"
    path.write_text(block, encoding="utf-8")
    assert [member.id for member in load(str(path)).listed.members] == [1, 2, 3]


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "docs/rules.md", "docs/divergence.md"])
def test_files_that_documents_name_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for name in re.findall(r"`((?:docs|src|tests)/[A-Za-z0-9_/.-]+\.(?:md|py|txt))`", text):
        assert (ROOT / name).exists(), f"{document} names {name}"
