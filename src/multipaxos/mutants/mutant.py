"""What a mutant is: the code with one rule taken out, told as a few anchored replacements in a copy of the package.

The production code holds no switch for any of this. A patch names text that must stand exactly once in its file; text
that is gone fails loudly, so that no mutant goes on living as a patch that changes nothing. Where mutants are hunted, and
by whom: ``hunts.py``. The tables of the catalogue: ``acceptor.py``, ``ledger.py``, ``durability.py``, ``reads.py``,
``clients.py``, ``membership.py``.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import multipaxos
from multipaxos.mutants.hunts import Hunt

ROW = "bug-"
"""How the id of a row of the catalogue begins; other ids are rules, traps and claims, and are counted apart."""


@dataclass(frozen=True, slots=True)
class Patch:
    """Replace ``anchor``, which must stand exactly once in ``file`` (relative to the package), by ``replacement``."""

    file: str
    anchor: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule taken out, who must notice, and where to look."""

    ids: tuple[str, ...]  # what it stands for: rows of the catalogue ("bug-A04"), rules, traps, claims
    name: str
    wrong: str  # what goes wrong, in one sentence
    source: str  # where it was really seen, or "derived"
    patches: tuple[Patch, ...]
    killers: tuple[str, ...]  # ids of the invariants and history checkers whose report counts as its death
    hunts: tuple[Hunt, ...]  # in order of cost
    argued: str = ""  # why it may outlive its hunts; empty where it must not

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of the catalogue it expresses."""
        return tuple(identity for identity in self.ids if identity.startswith(ROW))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A row of the catalogue that cannot be expressed yet."""

    row: str
    mechanism: str  # what it waits for


class AnchorGone(Exception):
    """The text a patch replaces does not stand in its file exactly once: the patch must be brought up to date."""


def patched(mutant: Mutant, package: Path) -> dict[str, str]:
    """The files of ``package`` that the mutant changes, with their new text. Raises AnchorGone."""
    texts: dict[str, str] = {}
    for patch in mutant.patches:
        text = texts.get(patch.file)
        if text is None:
            text = (package / patch.file).read_text()
        found = text.count(patch.anchor)
        if found != 1:
            raise AnchorGone(f"{mutant.name}: {patch.file} holds the anchor {found} times:\n{patch.anchor}")
        texts[patch.file] = text.replace(patch.anchor, patch.replacement)
    return texts


def source_folder() -> Path:
    """The package that mutants are made from: the one imported here."""
    return Path(multipaxos.__file__).parent


def apply(mutant: Mutant, folder: Path) -> None:
    """Write an interpreted copy of the package below ``folder``, with the mutant's patches. Raises AnchorGone."""
    package = source_folder()
    texts = patched(mutant, package)
    copy = folder / "multipaxos"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "*.so", ".mypy_cache"))
    for file, text in texts.items():
        (copy / file).write_text(text)
