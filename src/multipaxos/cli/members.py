"""``multipaxos members``: who is in the configuration, as each replica has it.

Only options and words; ``asking_admin.py`` asks the replicas.
"""

from collections.abc import Sequence

import typer

from multipaxos.cli.asking_admin import (
    ADMIN_OPTION,
    COLUMNS,
    CONNECT_OPTION,
    DATA_OPTION,
    DONE,
    FAILED,
    JSON_OPTION,
    TIMEOUT_OPTION,
    Answers,
    ask_places,
    find_places,
    print_json,
    table_text,
)
from multipaxos.client.addresses import address_text
from multipaxos.host.causes import fragment
from multipaxos.host.observed import MemberSeen, Unreachable
from multipaxos.host.outlook import Outlook, absence_text

NO_ANSWER = "no admin address answers, so the configuration is not known; `multipaxos why` says more"


def _admin_of(member: MemberSeen, answers: Answers) -> str:
    """Where it answered, or was asked; else as the replica that was believed has it in its own settings."""
    place = answers.places.get(member.id)
    if place is not None and place.admin is not None:
        return address_text(place.admin)
    return member.admin_address


def _now(member: int, outlook: Outlook) -> str:
    seen = outlook.seen.get(member)
    if seen is not None:
        return outlook.missing.get(member, seen.state)
    lost = outlook.lost.get(member)
    if outlook.is_alive(member):
        return "heard by the others"
    return fragment("unheard") if lost is None else absence_text(lost)


def _disagreements(outlook: Outlook) -> list[str]:
    versions: dict[int, list[int]] = {}
    for one in outlook.seen.values():
        versions.setdefault(one.configuration, []).append(one.id)
    if len(versions) < 2:
        return []
    told = [
        f"{version} at replica {', '.join(map(str, ids))}" for version, ids in sorted(versions.items(), reverse=True)
    ]
    return [f"replicas have different versions of the configuration: {'; '.join(told)}"]


def _table(members: Sequence[MemberSeen], answers: Answers, outlook: Outlook) -> list[str]:
    """With the marks, unless that makes it too wide."""
    rows = [["member", "votes", "peers", "clients", "admin", "mark", "now"]]
    for one in members:
        votes = "yes" if one.is_voter else "no"
        where = [one.peer_address, one.client_address or "-", _admin_of(one, answers) or "-"]
        rows.append([str(one.id), votes, *where, one.mark or "-", _now(one.id, outlook)])
    lines = table_text(rows)
    if max(map(len, lines)) > COLUMNS:
        lines = table_text([[*row[:5], row[6]] for row in rows])
    return lines


def _members(
    connect: str | None = CONNECT_OPTION,
    admin: str | None = ADMIN_OPTION,
    data: str | None = DATA_OPTION,
    timeout: float = TIMEOUT_OPTION,
    is_json: bool = JSON_OPTION,
) -> None:
    """List the members of the cluster: who votes, where they are, how they are now."""
    answers = ask_places(find_places(admin, connect, data), timeout)
    outlook = Outlook(answers.observations)
    newest = outlook.newest
    if newest is None:
        if is_json:
            asked = [one.address for one in answers.observations.values() if isinstance(one, Unreachable)]
            print_json({"error": NO_ANSWER, "asked": asked})
        typer.echo(f"error: {NO_ANSWER}", err=True)
        raise typer.Exit(FAILED)
    disagreements = _disagreements(outlook)
    if is_json:
        print_json(
            {
                "configuration_version": newest.configuration,
                "voters": list(newest.voters),
                "quorum": outlook.needed,
                "members": [
                    {
                        "id": one.id,
                        "is_voter": one.is_voter,
                        "peer": one.peer_address,
                        "client": one.client_address,
                        "admin": _admin_of(one, answers),
                        "mark": one.mark,
                        "now": _now(one.id, outlook),
                    }
                    for one in newest.members
                ],
                "disagreements": disagreements,
            }
        )
    else:
        print("\n".join(_table(newest.members, answers, outlook)))
        print()
        born = "the list of a cluster that is not born yet" if newest.configuration == 0 else "configuration"
        counted = f"voters: {len(newest.voters)}, quorum: {outlook.needed}"
        print(f"{born}, version {newest.configuration}, as replica {newest.id} has it; {counted}")
        for text in disagreements:
            print(f"disagreement: {text}")
    raise typer.Exit(FAILED if disagreements else DONE)


def register(app: typer.Typer) -> None:
    """Mounts ``members``."""
    app.command("members")(_members)
