"""``multipaxos status``: every replica on a line, who leads, how many failures the cluster would survive right now.

Replicas are asked at their admin ports (``asking_admin.py``). Where none of those answers, four-letter words on the client
ports tell what they can (``client/standing.py``), which works with a ZooKeeper ensemble too. Only options and words.
"""

import asyncio

import typer

from multipaxos.cli.asking_admin import (
    ADMIN_OPTION,
    CONNECT_OPTION,
    DATA_OPTION,
    DONE,
    FAILED,
    JSON_OPTION,
    Answers,
    Place,
    ask_places,
    find_places,
    patience,
    print_json,
    table_text,
)
from multipaxos.client.addresses import Address, address_text
from multipaxos.client.standing import Standing, Summary, ask_all, summary_text
from multipaxos.host.observed import Seen, Unreachable
from multipaxos.host.outlook import Outlook, absence_text, listed_key
from multipaxos.host.why import findings, span_text

_HEADER = ("replica", "role", "state", "applied", "behind", "sync p99", "clients", "admin")


class _Picture:
    """The answers of all admin ports, and of the client ports of those that gave none."""

    def __init__(self, answers: Answers, standings: dict[int, Standing]) -> None:
        self.answers = answers
        self.outlook = Outlook(answers.observations)
        self.standings = standings
        self.causes = len(findings(answers.observations, answers.now_ms))
        self.disagreements = self._disagreements()

    @property
    def is_serving(self) -> bool:
        """Whether writes are taken, as far as can be told from outside."""
        return self.outlook.has_quorum and self.outlook.leader != 0 and not self.disagreements

    def _disagreements(self) -> list[str]:
        leaders: dict[int, list[int]] = {}
        versions: dict[int, list[int]] = {}
        for one in self.outlook.awake.values():
            leaders.setdefault(one.id if one.standing == "leader" else one.leader, []).append(one.id)
            versions.setdefault(one.configuration, []).append(one.id)
        found = []
        if len(leaders) > 1:
            told = "; ".join(
                f"replica {_listed(ids)}: {f'replica {leader}' if leader else 'nobody'}"
                for leader, ids in sorted(leaders.items())
            )
            found.append(f"who leads? {told}")
        if len(versions) > 1:
            told = "; ".join(f"replica {_listed(ids)}: version {one}" for one, ids in sorted(versions.items()))
            found.append(f"which configuration? {told}")
        return found

    def role_of(self, one: Seen) -> str:
        """leader, follower or candidate; observers are followers without a vote."""
        return one.standing if one.id in self.outlook.voters or one.standing == "leader" else "observer"

    def state_of(self, one: Seen) -> str:
        return one.state if one.id in self.outlook.awake else f"stalled {span_text(one.stalled_ms)}"

    def client_of(self, replica: int) -> str:
        """Where clients reach a replica, "" where that is not known."""
        place = self.answers.places.get(replica)
        if place is not None and place.client is not None:
            return address_text(place.client)
        members = () if self.outlook.newest is None else self.outlook.newest.members
        return next((member.client_address for member in members if member.id == replica), "")


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids))


def _listed_answers(answers: Answers) -> list[tuple[int, dict[str, object] | Unreachable]]:
    return [(replica, answers.observations[replica]) for replica in sorted(answers.observations, key=listed_key)]


def _shown(value: float | None) -> str:
    return "-" if value is None else str(value)


def _rows(picture: _Picture) -> list[list[str]]:
    rows = [list(_HEADER)]
    for replica, answer in _listed_answers(picture.answers):
        one = picture.outlook.seen.get(replica)
        if one is not None:
            p99 = "-" if one.sync_p99 is None else span_text(one.sync_p99)
            numbers = [_shown(one.applied), _shown(one.behind), p99, _shown(one.connections)]
            rows.append([str(replica), picture.role_of(one), picture.state_of(one), *numbers, "yes"])
            continue
        assert isinstance(answer, Unreachable)
        name = str(replica) if replica > 0 else answer.address
        standing = picture.standings.get(replica)
        if standing is not None and not standing.trouble:
            told = [standing.mode, "serving", "-", "-", "-", _shown(standing.connections), f"no: {answer.reason}"]
            rows.append([name, *told])
        else:
            rows.append([name, absence_text(answer)])
    return rows


def _text(picture: _Picture) -> str:
    outlook = picture.outlook
    lines = [*table_text(_rows(picture)), ""]
    serving = f"{outlook.serving} of {len(outlook.voters)} replicas serve"
    if outlook.leader == 0:
        lines.append(f"no leader; {serving}")
    else:
        client = picture.client_of(outlook.leader)
        where = f" ({client})" if client else ""
        lines.append(f"leader replica {outlook.leader}{where}, epoch {_shown(outlook.epoch)}; {serving}")
    if outlook.has_quorum:
        lines.append(f"failures survivable now: {outlook.survivable}")
    else:
        lines.append("failures survivable now: none, writes wait for a majority")
    lines += [f"disagreement: {text}" for text in picture.disagreements]
    if picture.causes:
        lines.append(f"next: multipaxos why ({picture.causes} in the way)")
    return "\n".join(lines)


def _json(picture: _Picture) -> dict[str, object]:
    outlook = picture.outlook
    replicas: list[dict[str, object]] = []
    for replica, answer in _listed_answers(picture.answers):
        one = picture.outlook.seen.get(replica)
        known: dict[str, object] = {"id": replica if replica > 0 else None, "connect": picture.client_of(replica)}
        if one is not None:
            known |= {
                "is_admin_reachable": True,
                "standing": picture.role_of(one),
                "state": one.state,
                "stalled_for_ms": one.stalled_ms,
                "leader": one.leader,
                "epoch": one.epoch,
                "configuration_version": one.configuration,
                "applied": one.applied,
                "behind": one.behind,
                "sync_p99_ms": one.sync_p99,
                "connections": one.connections,
                "trouble": "",
            }
        else:
            assert isinstance(answer, Unreachable)
            standing = picture.standings.get(replica)
            is_serving = standing is not None and not standing.trouble
            known |= {
                "is_admin_reachable": False,
                "admin": answer.address,
                "standing": standing.mode if standing is not None and is_serving else None,
                "trouble": answer.reason if is_serving else absence_text(answer),
            }
        replicas.append(known)
    return {
        "serving": picture.is_serving,
        "leader": picture.client_of(outlook.leader) if outlook.leader else None,
        "leader_id": outlook.leader or None,
        "epoch": outlook.epoch,
        "configuration_version": None if outlook.newest is None else outlook.newest.configuration,
        "voters": len(outlook.voters),
        "replicas_serving": outlook.serving,
        "failures_survivable": outlook.survivable,
        "disagreements": picture.disagreements,
        "causes": picture.causes,
        "replicas": replicas,
    }


def _ask_clients(places: list[Place], timeout_s: float) -> Summary | None:
    """What four-letter words tell; None where no client address is known."""
    addresses: list[Address] = [place.client for place in places if place.client is not None]
    if not addresses:
        return None
    with patience(f"for an answer of {', '.join(map(address_text, addresses))} (up to {timeout_s:g} s)"):
        return asyncio.run(ask_all(addresses, timeout_s))


def _status(
    connect: str | None = CONNECT_OPTION,
    admin: str | None = ADMIN_OPTION,
    data: str | None = DATA_OPTION,
    timeout: float = typer.Option(3.0, min=0.1, help="Seconds to wait for the answers, of all together."),
    is_json: bool = JSON_OPTION,
) -> None:
    """Ask every replica how it stands: who leads, who lags, how many more failures the cluster survives."""
    places = find_places(admin, connect, data)
    answers = ask_places(places, timeout)
    silent = {one: place for one, place in answers.places.items() if isinstance(answers.observations[one], Unreachable)}
    summary = _ask_clients(list(silent.values()), timeout)
    if not answers.is_anybody_there and summary is not None:
        print_json(summary.as_json()) if is_json else print(summary_text(summary))
        raise typer.Exit(DONE if summary.is_serving else FAILED)
    told = {} if summary is None else {standing.address: standing for standing in summary.replicas}
    picture = _Picture(answers, {one: told[place.client] for one, place in silent.items() if place.client in told})
    print_json(_json(picture)) if is_json else print(_text(picture))
    raise typer.Exit(DONE if picture.is_serving else FAILED)


def register(app: typer.Typer) -> None:
    """Mounts ``status``."""
    app.command("status")(_status)
