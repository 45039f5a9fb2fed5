"""Where a cluster's admin ports are, and what they answer: the ground of `why`, `status` and `members`.

In this order: `--admin`; `--connect` (the admin ports that ``cluster.json`` gives for those client addresses, else the
default, 6000 above the client port); the ``cluster.json`` of `--data`; the default ports of this machine. For replicas of
this machine that do not answer, what their folder tells is added.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import typer

from multipaxos.client.addresses import (
    ADMIN_PORT,
    CONNECT_VARIABLE,
    DEFAULT_CONNECT,
    DEFAULT_PORT,
    Address,
    address_text,
    parse_addresses,
)
from multipaxos.client.admin import AdminAnswer, ask_admins
from multipaxos.host.folder import ALONE_DEFAULT, DATA_DEFAULT, REPLICAS_MAX
from multipaxos.host.last_words import Resident, read_residents
from multipaxos.host.observed import Unreachable, is_observation, read_observation

COLUMNS: Final = 100
PATIENCE_S: Final = 1.0
DONE: Final = 0
FAILED: Final = 1

ADMIN_OPTION = typer.Option(
    None, "--admin", help="Admin addresses to ask: host:port,...", show_default="as in cluster.json"
)
CONNECT_OPTION = typer.Option(
    None,
    "--connect",
    envvar=CONNECT_VARIABLE,
    help="Where clients connect: host:port,...; the admin ports are looked up, or taken to be 6000 above.",
    show_default=False,
)
DATA_OPTION = typer.Option(
    None, "--data", help="Folder of a local cluster, whose cluster.json says where it is.", show_default=DATA_DEFAULT
)
TIMEOUT_OPTION = typer.Option(2.0, min=0.1, help="Seconds to wait for the answers, of all together.")
JSON_OPTION = typer.Option(False, "--json", help="Print one JSON object, on the last line.")

Observations = dict[int, dict[str, object] | Unreachable]


@dataclass(frozen=True, slots=True)
class Place:
    """One replica to ask, as far as it is known before it answers."""

    admin: Address | None
    client: Address | None = None
    resident: Resident | None = None  # where the folder of its cluster is on this machine


@dataclass(frozen=True, slots=True)
class Answers:
    """What all of them answered, at ``now_ms`` of this machine's clock."""

    observations: Observations
    now_ms: float
    places: dict[int, Place] = field(default_factory=dict)  # by the ids of ``observations``

    @property
    def is_anybody_there(self) -> bool:
        """Whether at least one observation came."""
        return any(not isinstance(one, Unreachable) for one in self.observations.values())


def find_places(admin: str | None, connect: str | None, data: str | None) -> list[Place]:
    """Whom to ask. Raises BadParameter."""
    if admin is not None:
        return [Place(address) for address in parsed(admin, "--admin", ADMIN_PORT)]
    folder = data if data is not None else DATA_DEFAULT
    residents = read_residents(folder)
    if residents is None and data is None:
        residents = read_residents(ALONE_DEFAULT)
    if residents is None and data is not None:
        there = "is no folder of a local cluster" if os.path.isdir(data) else "does not exist"
        raise typer.BadParameter(f"{data} {there}: it has no cluster.json that can be read", param_hint="--data")
    known = {} if residents is None else {_address(one.client): one for one in residents}
    if connect is not None:
        return [_place_of_client(address, known) for address in parsed(connect, "--connect", DEFAULT_PORT)]
    if residents is not None:
        return [Place(_address(one.admin), _address(one.client), one) for one in residents]
    return [_place_of_client(address, {}) for address in parse_addresses(DEFAULT_CONNECT)]


def parsed(text: str, option: str, default_port: int) -> list[Address]:
    """Addresses as they were typed. Raises BadParameter."""
    try:
        return parse_addresses(text, default_port)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _address(text: str) -> Address | None:
    try:
        return parse_addresses(text)[0]
    except ValueError:
        return None


def _place_of_client(client: Address, known: dict[Address | None, Resident]) -> Place:
    resident = known.get(client)
    if resident is not None:
        return Place(_address(resident.admin), client, resident)
    host, port = client
    is_default = DEFAULT_PORT <= port < DEFAULT_PORT + REPLICAS_MAX
    return Place((host, port - DEFAULT_PORT + ADMIN_PORT) if is_default else None, client)


def ask_places(places: Sequence[Place], timeout_s: float) -> Answers:
    """Ask all at once; takes ``timeout_s`` at the most."""
    asked = [place for place in places if place.admin is not None]
    addresses = [place.admin for place in asked if place.admin is not None]
    with patience(f"for an answer of {', '.join(map(address_text, addresses))} (up to {timeout_s:g} s)"):
        answers = dict(zip(asked, ask_admins(addresses, "/status", timeout_s), strict=True))
    now_ms = time.time() * 1000
    observations: Observations = {}
    by_id: dict[int, Place] = {}
    silent: list[Place] = []
    for place in places:
        answer = answers.get(place)
        value = None if answer is None else answer.value
        if value is not None and is_observation(value):
            replica = read_observation(value).id
            if replica not in by_id:  # two addresses of one replica
                observations[replica], by_id[replica] = value, place
        else:
            silent.append(place)
    for place in silent:
        replica = _id_of(place, observations)
        observations[replica], by_id[replica] = _unreachable(place, answers.get(place)), place
    return Answers(observations, now_ms, by_id)


def _id_of(place: Place, observations: Observations) -> int:
    """Whose address it is: as the folder says, or those that answer; else a number below 0."""
    if place.resident is not None and place.resident.id not in observations:
        return place.resident.id
    wanted = {address_text(one) for one in (place.admin, place.client) if one is not None}
    for one in observations.values():
        if isinstance(one, Unreachable):
            continue
        for member in read_observation(one).members:
            if member.id not in observations and wanted & {member.admin_address, member.client_address}:
                return member.id
    return min([0, *observations]) - 1


def _unreachable(place: Place, answer: AdminAnswer | None) -> Unreachable:
    resident = place.resident
    process, words, killed = (
        ("", "", "") if resident is None else (resident.process, resident.last_words, resident.killed)
    )
    if answer is None:
        shown = "?" if place.client is None else address_text(place.client)
        kind, reason = "failed", "its admin address is not known: say it with --admin"
    else:
        shown, kind, reason = address_text(answer.address), answer.kind, answer.reason
        if answer.value is not None:
            kind, reason = "garbage", "what answers there is no replica of this kind"
    return Unreachable(shown, kind, reason, words, killed, process)


@contextlib.contextmanager
def patience(what: str) -> Iterator[None]:
    """Says for what is waited when it takes longer than a moment."""
    notice = threading.Timer(PATIENCE_S, lambda: typer.echo(f"waiting: {what}", err=True))
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


def print_json(value: dict[str, object]) -> None:
    """One object on the last line."""
    print(json.dumps(value))


def table_text(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, two spaces between them. The last cell of a row may be a sentence and run on to the right."""
    width_of = [0] * max(len(row) for row in rows)
    for row in rows:
        for at, cell in enumerate(row[:-1]):
            width_of[at] = max(width_of[at], len(cell))
    return [
        "  ".join([*(cell.ljust(width_of[at]) for at, cell in enumerate(row[:-1])), row[-1]]).rstrip() for row in rows
    ]
