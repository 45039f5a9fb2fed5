"""All models by name, and a model of the user's from a file. Knows nothing of searching.

``build("lamport-paxos", "A08", {"acceptors": 3})`` makes one; sizes that are not given keep their defaults. What a model
does not know is refused with the names of what it knows.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from multipaxos.explore.model import Model
from multipaxos.explore.shard import ModelError

Maker = Callable[..., Model[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a model is found; it is imported when it is wanted. ``mutants`` names a dictionary of makers, by bug."""

    what: str
    place: str
    mutants: str = ""
    defaults: tuple[tuple[str, int], ...] = ()


MODELS: dict[str, Entry] = {
    "consensus": Entry("what is to be implemented: one value, for ever", "consensus:Consensus", "consensus:MUTANTS"),
    "lamport-voting": Entry("Paxos without messages", "lamport_voting:LamportVoting", "lamport_voting:MUTANTS"),
    "lamport-paxos": Entry("Paxos by Lamport", "lamport_paxos:LamportPaxos", "lamport_mutants:MUTANTS"),
    "lamport-paxos-old": Entry(
        "the same, in the sizes of the older directory",
        "lamport_paxos:LamportPaxos",
        "lamport_mutants:MUTANTS",
        (("acceptors", 1), ("values", 1), ("ballots", 2), ("is_symmetric", True)),
    ),
    "stateright-paxos": Entry(
        "Paxos behind a register, by stateright", "stateright_paxos:StaterightPaxos", "stateright_mutants:MUTANTS"
    ),
    "multipaxos-smr": Entry(
        "a ledger of slots, with clients", "multipaxos_smr:MultiPaxosSmr", "multipaxos_smr:MUTANTS"
    ),
    "two-phase-commit": Entry("not Paxos", "two_phase_commit:TwoPhaseCommit", "two_phase_commit:MUTANTS"),
    "core": Entry("the core that serves", "core_world:make"),
}


def build(name: str, mutant: str, sizes: Mapping[str, int]) -> Model[Any]:
    """The model of this name (or of this ``path/to/file.py:ClassName``), in these sizes, with this bug or none ("").

    Raises ModelError, with what can be done instead.
    """
    make = maker(name, mutant)
    try:
        return make(**full_sizes(name, make, sizes))
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from error


def maker(name: str, mutant: str) -> Maker:
    """What makes the model."""
    entry = MODELS.get(name)
    if entry is None:
        if ":" not in name:
            raise ModelError(
                f"there is no model {name!r}: take one of {', '.join(MODELS)}, or path/to/file.py:ClassName"
            )
        if mutant:
            raise ModelError(f"a model from a file has no mutants by name: make {mutant!r} a class of its own")
        return from_file(name)
    if not mutant:
        return found_at(entry.place)  # type: ignore[no-any-return]
    mutants: dict[str, Maker] = found_at(entry.mutants) if entry.mutants else {}
    if mutant not in mutants:
        raise ModelError(f"{name} has no mutant {mutant!r}: it has {', '.join(mutants) or 'none'}")
    return mutants[mutant]


def found_at(place: str) -> Any:
    """``module:name`` of this package."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(f"multipaxos.explore.{module}"), attribute)


def full_sizes(name: str, make: Maker, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes given, and for the rest the model's own."""
    known = inspect.signature(make).parameters
    for size in sizes:
        if size not in known:
            raise ModelError(f"{name} knows no size {size!r}: it knows {', '.join(known) or 'none'}")
    own = {size: value.default for size, value in known.items() if value.default is not inspect.Parameter.empty}
    entry = MODELS.get(name)
    full = {**own, **dict(entry.defaults if entry else ()), **sizes}
    missing = [size for size in known if size not in full]
    if missing:
        raise ModelError(f"{name} must be told {', '.join(missing)}")
    return full


def from_file(name: str) -> Maker:
    """``path/to/file.py:ClassName``: a class of the user's, which must be a ``Model``."""
    path_text, _, class_name = name.rpartition(":")
    path = Path(path_text)
    if not path.is_file():
        raise ModelError(f"there is no file {path_text}: --model wants path/to/file.py:ClassName")
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path_text} is not a Python file: its name must end in .py")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path_text} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Model)):
        classes = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, Model)]
        classes = [key for key in classes if key != Model.__name__]
        raise ModelError(
            f"{path_text} has no class {class_name!r} that is a multipaxos.explore.model.Model; "
            f"it has {', '.join(classes) or 'none: derive one from Model'}"
        )
    abstract = sorted(getattr(found, "__abstractmethods__", ()))
    if abstract:
        raise ModelError(f"{class_name} in {path_text} still needs {' and '.join(abstract)}()")
    return found
