"""What a proposer and an acceptor of Basic Paxos by hand say to each other, and the bytes of it.

The article's four messages are prepare, promise, accept and accepted; its reject is the nack. Around them stand a
question that changes nothing (``Ask``, answered by ``Standing``) and a refusal for reasons other than a number. Each
travels as one JSON object inside a frame of ``wire/frame.py``, so that a newcomer can read a captured conversation:

    {"type": "prepare", "name": "colour", "run": "00c0ffee00c0ffee", "number": 6, "acceptors": ["127.0.0.1:7001", ...]}

Every request carries the name of its decision, the random id of the run that sent it and the set of acceptors it counts
on (rule-R52); every answer carries the run it answers and the identity of the acceptor's directory. ``decode`` refuses
whatever is no message; both sides close a connection that sends such bytes.

This module knows nothing of sockets or of rules: the rules stand in ``acceptor.py`` and ``proposer.py``, read next.
"""

import json
import re
from dataclasses import dataclass, fields
from typing import Any, Final

from multipaxos.core.ballot import NO_BALLOT

NAME_BYTES_MAX: Final = 255
VALUE_BYTES_MAX: Final = 65_536
ACCEPTORS_MAX: Final = 99
NUMBER_LIMIT: Final = 1 << 62
"""Numbers stay below this, so that they fit the journal's signed 64 bits (rule-R1)."""

NO_RUN: Final = ""
"""The run id that goes with "nothing promised"."""

OTHER_SET: Final = "other-set"
TOO_MANY_NAMES: Final = "too-many-names"
TOO_FAR_AHEAD: Final = "too-far-ahead"


class MalformedMessage(ValueError):
    """The bytes are no message of this protocol."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What have you promised and accepted for this name? Changes nothing and leaves no trace (rule-R51)."""

    name: str
    run: str
    acceptors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepare:
    """Message 1 of the article: promise to refuse everything below ``number``, and say what you accepted last."""

    name: str
    run: str
    acceptors: tuple[str, ...]
    number: int


@dataclass(frozen=True, slots=True)
class Accept:
    """Message 3 of the article: accept ``value`` at ``number``."""

    name: str
    run: str
    acceptors: tuple[str, ...]
    number: int
    value: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Answer to Ask. ``accepted`` and ``value`` are the vote given last; NO_BALLOT and None where there is none."""

    name: str
    run: str
    acceptor: str
    promised: int
    promised_run: str
    accepted: int
    value: str | None


@dataclass(frozen=True, slots=True)
class Promise:
    """Message 2 of the article: promised, and this is what I accepted last. The picture leaves the second half out."""

    name: str
    run: str
    acceptor: str
    number: int
    accepted: int
    value: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """Message 4 of the article: a vote for the value of ``number``."""

    name: str
    run: str
    acceptor: str
    number: int


@dataclass(frozen=True, slots=True)
class Nack:
    """The article's reject: ``number`` is refused, ``promised`` was promised to ``promised_run``. A hint (trap-T9)."""

    name: str
    run: str
    acceptor: str
    number: int
    promised: int
    promised_run: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """No answer to any number of this run: ``why`` is one of the constants above. One of these ends a run (rule-R52).

    ``stored`` is the set the name was first asked under, ``bound`` the limit that was reached; each empty where the
    reason is another.
    """

    name: str
    run: str
    acceptor: str
    why: str
    stored: tuple[str, ...]
    bound: int


Request = Ask | Prepare | Accept
Answer = Standing | Promise | Nack | Accepted | Refusal
Message = Request | Answer

_TYPES: Final[dict[str, type[Message]]] = {
    "ask": Ask,
    "prepare": Prepare,
    "accept": Accept,
    "standing": Standing,
    "promise": Promise,
    "accepted": Accepted,
    "nack": Nack,
    "refusal": Refusal,
}
_KINDS: Final = {message: kind for kind, message in _TYPES.items()}

_ID: Final = re.compile(r"[0-9a-f]{16}")
_ADDRESS: Final = re.compile(r"(\[[0-9a-f:.%a-z]+\]|[^\s:,\[\]]+):([0-9]{1,5})")


def encode(message: Message) -> bytes:
    """The bytes of a message, to be put into one frame."""
    body: dict[str, object] = {"type": _KINDS[type(message)]}
    for field in fields(message):
        body[field.name] = getattr(message, field.name)
    return json.dumps(body, separators=(",", ":")).encode()


def decode(body: bytes | bytearray | memoryview) -> Message:
    """The message in the body of a frame. Raises MalformedMessage, naming what is wrong, where it is none."""
    try:
        found = json.loads(bytes(body))
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"not JSON: {error}") from error
    if not isinstance(found, dict):
        raise MalformedMessage("not a JSON object")
    kind = found.pop("type", None)
    message = _TYPES.get(kind) if isinstance(kind, str) else None
    if message is None:
        raise MalformedMessage(f"no message is called {kind!r}")
    names = [field.name for field in fields(message)]
    if sorted(found) != sorted(names):
        raise MalformedMessage(f"{kind} has the fields {names}, not {sorted(found)}")
    values: dict[str, Any] = {}
    for name in names:
        values[name] = _checked(name, found[name])
    problem = _contradiction(message, values)
    if problem:
        raise MalformedMessage(f"{kind}: {problem}")
    return message(**values)


def _contradiction(message: type[Message], values: dict[str, Any]) -> str:
    """What no acceptor by the rules can say, though each field alone is possible."""
    if message is Accept and values["value"] is None:
        return "it needs a value"
    if "accepted" in values and (values["accepted"] == NO_BALLOT) != (values["value"] is None):
        return "a vote needs both its number and its value"
    if message is Promise and values["accepted"] >= values["number"]:
        return "a vote at or above the number that is promised"
    if message is Standing and values["accepted"] > values["promised"]:
        return "a vote above the promise"
    if message is Nack and values["promised"] < values["number"]:
        return "nothing promised that stands in the way"
    return ""


def _checked(name: str, value: object) -> object:
    """``value`` as the field called ``name`` holds it. What a field may hold follows from its name alone."""
    if name in ("number", "promised", "accepted", "bound"):
        lowest = NO_BALLOT if name in ("promised", "accepted") else 0
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < NUMBER_LIMIT:
            raise MalformedMessage(f"{name} is no number between {lowest} and 2^62")
        return value
    if name in ("acceptors", "stored"):
        if not isinstance(value, list) or len(value) > ACCEPTORS_MAX:
            raise MalformedMessage(f"{name} is no list of at most {ACCEPTORS_MAX} addresses")
        addresses = [item for item in value if isinstance(item, str) and _ADDRESS.fullmatch(item)]
        if len(addresses) != len(value) or sorted(set(addresses)) != value:
            raise MalformedMessage(f"{name} is no sorted list of different addresses")
        if name == "acceptors" and not value:
            raise MalformedMessage("acceptors is empty")
        return tuple(value)
    if value is None and name == "value":
        return None
    if not isinstance(value, str):
        raise MalformedMessage(f"{name} is no text")
    if name in ("run", "acceptor", "promised_run"):
        if not _ID.fullmatch(value) and not (name == "promised_run" and value == NO_RUN):
            raise MalformedMessage(f"{name} is no id of 16 hexadecimal digits")
        return value
    if name == "why":
        if value not in (OTHER_SET, TOO_MANY_NAMES, TOO_FAR_AHEAD):
            raise MalformedMessage(f"no refusal is called {value!r}")
        return value
    problem = name_problem(value) if name == "name" else value_problem(value)
    if problem:
        raise MalformedMessage(f"{name}: {problem}")
    return value


def name_problem(name: str) -> str:
    """Why ``name`` cannot name a decision; empty where it can."""
    if not name:
        return "it is empty"
    return _text_problem(name, NAME_BYTES_MAX)


def value_problem(value: str) -> str:
    """Why ``value`` cannot be proposed; empty where it can. An empty value is one like any other."""
    return _text_problem(value, VALUE_BYTES_MAX)


def _text_problem(text: str, bytes_max: int) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "it is no valid UTF-8 text"
    if size > bytes_max:
        return f"it has {size} bytes of UTF-8, and at most {bytes_max} are allowed"
    return ""


def address_of(text: str) -> str:
    """The one spelling of an address: ``host:port`` as given, ``localhost`` resolved (rule-R52).

    Other host names stay as they are: two machines may resolve one differently, and the set has to mean the same to
    everybody. Raises ValueError, saying what is expected.
    """
    spelled = text.strip().lower()
    found = _ADDRESS.fullmatch(spelled)
    if found is None or not 0 < int(found[2]) < 65_536:
        raise ValueError(f"{text.strip()!r} is no address; write HOST:PORT, for example 127.0.0.1:7001")
    host = "127.0.0.1" if found[1] == "localhost" else found[1]
    return f"{host}:{int(found[2])}"


def addresses_of(text: str) -> tuple[str, ...]:
    """The acceptors in a comma-separated list, in its order. Raises ValueError where one is listed twice."""
    found: list[str] = []
    for item in text.split(","):
        address = address_of(item)
        if address in found:
            raise ValueError(f"the acceptor {address} is listed twice; each may vote once")
        found.append(address)
    if len(found) > ACCEPTORS_MAX:
        raise ValueError(f"{len(found)} acceptors are listed, and at most {ACCEPTORS_MAX} can be asked")
    return tuple(found)


def set_of(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The set that a list of acceptors means: order has no meaning (rule-R52)."""
    return tuple(sorted(addresses))
