"""Sixty-four bits that stand for a state, the same in every process and every run.

Knows nothing of models. Python's own ``hash`` would not do: of strings it differs from run to run, of small numbers it is the
number itself, and of -1 and -2 it is the same.

With n states the chance that any two share a fingerprint is about n * n / 2**65: one in 370,000 for ten million states.
Such an accident hides a state; it never invents one. ``Bounds.is_keeping_states`` compares the states themselves.
"""

import marshal
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b

FINGERPRINT_BYTES = 8
# Version 2 of the format writes no references between parts, so equal values give equal bytes; sets come out sorted.
PLAIN_FORMAT = 2


def fingerprint(value: object) -> int:
    """Sixty-four bits of a value (see ``encode``)."""
    return int.from_bytes(blake2b(encode(value), digest_size=FINGERPRINT_BYTES).digest(), "little")


def encode(value: object) -> bytes:
    """Equal bytes for equal values: numbers, strings, bytes, None, and tuples, frozensets, dataclasses, enumerations of such.

    Equal means of the same types, too: 1 is not True. Raises TypeError for other types, of which some pass unseen: lists and
    dictionaries. The search asks for the hash of an initial state, which neither has.
    """
    try:  # most states are made of built-in types, and are done here in one go
        return marshal.dumps(tuple(value) if isinstance(value, tuple) else value, PLAIN_FORMAT)  # type: ignore[arg-type]
    except ValueError:
        return encode_named(value)


def encode_named(value: object) -> bytes:
    """The same for a value with named types in it: the name, and the bytes of each part."""
    if isinstance(value, tuple | frozenset):
        parts = [encode(part) for part in value]
        if isinstance(value, frozenset):
            parts.sort()
    elif isinstance(value, Enum):
        parts = [value.name.encode()]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [encode(getattr(value, name)) for name in field_names(type(value))]
    else:
        raise TypeError(
            f"a state may not hold a {type(value).__name__}: use tuples, frozensets, named tuples or frozen dataclasses, "
            "or let canonical() return some of these"
        )
    return marshal.dumps((type(value).__name__, *parts), PLAIN_FORMAT)


@lru_cache(maxsize=1_000)
def field_names(kind: type) -> tuple[str, ...]:
    """The fields of a dataclass."""
    return tuple([field.name for field in fields(kind)])
