"""``docs/evidence.md``: what is claimed, what was found, the command that finds it again, and what it does not show.

Every number on the page is read from the results of ``store.py``, which the commands themselves wrote. What was not run
for this code stands as "not run for this code", not as an old number.

Knows nothing of how the numbers came about.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from multipaxos.core.reasons import REASONS
from multipaxos.evidence.store import PARTS, Store, source_hash
from multipaxos.sim.campaign import HOSTILE, LEADER_CHANGE, LIVENESS, TRANSITIONS, UNLIKELY, CampaignReport

NOT_RUN = "not run for this code"

WINDOW = 10_000
"""So many seeds in a row must each time have met enough of every fault."""

Result = dict[str, Any]


def page(store: Store) -> str:
    """The whole page, as Markdown."""
    parts = [HEAD.format(date=datetime.now(UTC).strftime("%Y-%m-%d")), _claims(store)]
    for write in (_anchors, _core, _seeds, _mutants, _storage, _torture, _tests):
        parts.append(write(store))
    seeds = campaign_of(store, "seeds").seeds
    # Were it as frequent as one in n / 3, so many seeds would show none in e^-3 = 5 cases of 100.
    parts += [_origins(store), _earlier(store), LIMITS.format(seeds=seeds, rare=seeds // 3)]
    return "\n".join(parts)


HEAD = """# Why believe it

Nobody should have to believe us. The code that serves is the code that is searched, simulated, broken on purpose and
tortured; this page says what was found, and how to find it again. It is written by `multipaxos verify evidence` from the
results of the commands it names ({date}); a result counts for the code it was found for and no other, and a kind that
was not run for the present code says so. `make evidence` runs all of it, may be stopped at any time, and goes on where it
was; it also runs long tests and a deeper enumeration of the journal, which stand here only if they were run.
"""

LIMITS = """## What this does not show

- Exploration is exhaustive only where it says that all states were seen, and says nothing beyond its bounds: three ballots
  do not show what needs a fourth. Heartbeats, reads and hand-over are left out of the searched world (the seeds have them).
- Seeds are samples. That {seeds:,} of them are clean says, with 95 % confidence, that a bug they can reach shows in fewer
  than one seed in {rare:,}. Worlds whose disks lose what was chosen keep the ballots of as many forgotten slots as a
  replica does by default; only the others try fewer.
- The simulator replaces sockets, threads, the kernel and the driver by its own; the torture of real processes is what
  looks at those, and it sees only what happens in its minutes.
- What rule-R42 lists cannot be seen by anybody: a disk that lies about its last sync, a rollback shorter than what peers
  noted. Snapshots, changes of membership, leases and repair from peers do not exist yet, so neither does evidence for
  them: `docs/scenarios.md` and the waiting rows above say which mechanism each waits for.
- All figures come from one kind of machine. Times are those of that machine and of nothing else.
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def campaign_of(store: Store, kind: str) -> CampaignReport:
    """All seeds of one kind, added up."""
    report = CampaignReport()
    for result in store.results(kind).values():
        report.merge(result)
    return report


def _said(results: dict[str, Result], key: str, say: Callable[[Result], str]) -> str:
    return say(results[key]) if key in results else NOT_RUN


def _core_key(results: dict[str, Result]) -> str:
    return next((key for key in results if key.startswith("core ")), "")


def _claims(store: Store) -> str:
    explored = store.results("explore")
    seeds = campaign_of(store, "seeds")
    plain = campaign_of(store, "plain-seeds")
    storage = store.results("storage")
    torture = store.results("torture")
    points, states = _sum(storage, "points"), _sum(storage, "states")
    rows = [
        (
            "The explorer counts as others do",
            _said(explored, "anchors", lambda found: f"{_agreeing(found)} published counts and deaths exactly, "
                  "each other with its reason beside it"),
            "`multipaxos verify anchors`",
        ),
        (
            "In a small world no schedule searched leads the core astray, whatever is lost, repeated, reordered or crashed",
            _said(explored, _core_key(explored), lambda found: f"{found['unique']:,} distinct states, breadth first, "
                  f"{found['violations']} violations; " + ("all there are" if found["exhausted"] else
                  f"not all there are: everything above depth {found['depth']}, and a part of it")),
            _said(explored, _core_key(explored), lambda found: f"`{found['command']}`"),
        ),
        (
            "Under random faults nothing acknowledged is lost, nothing old is read, all comes to an end",
            f"{seeds.seeds:,} seeds with clients, {seeds.violations} violations"
            + (f"; {plain.seeds:,} of the core alone, {plain.violations}" if plain.seeds else "") if seeds.seeds else NOT_RUN,
            _seed_commands(store, "seeds") or "`multipaxos verify seeds`",
        ),
        (
            "The checkers see",
            _said(store.results("mutants"), "all", lambda found: f"of {found['catalogue']} known bugs {found['rows']} can be "
                  f"expressed in this code, {found['killed']} of them are killed by the invariant named for them, "
                  f"{len(found['false_alarms'])} false alarms"),
            "`multipaxos verify mutants`",
        ),
        (
            "In short workloads no crash, torn write or bad bit makes the journal forget in silence",
            f"{points:,} crash points, {states:,} states of the disk, {_sum(storage, 'flips'):,} flipped bits, "
            f"{_sum(storage, 'errors'):,} failing calls, {_sum(storage, 'violations')} violations" if storage else NOT_RUN,
            ", ".join(f"`{found['command']}`" for found in storage.values()) or "`multipaxos verify storage --all`",
        ),
        (
            "Real processes lose nothing either",
            f"{len(torture)} runs, {_sum(torture, 'acknowledged'):,} acknowledged operations, {_sum(torture, 'lost')} lost, "
            f"{_sum(torture, 'violations')} violations" if torture else NOT_RUN,
            "`multipaxos verify torture --seconds 180 --replicas 3`",
        ),
    ]  # fmt: skip
    return "## Claims\n\n" + _table(("claim", "evidence", "see for yourself"), rows)


def _sum(results: dict[str, Result], name: str) -> int:
    return sum(_number(result.get(name, 0)) for result in results.values())


def _number(value: Any) -> int:
    return len(value) if isinstance(value, list | dict) else int(value)


def _agreeing(found: Result) -> str:
    exact = sum(bool(row["agrees"]) for row in found["anchors"]) + sum(bool(row["is_exact"]) for row in found["deaths"])
    return f"{exact} of {len(found['anchors']) + len(found['deaths'])}"


def _anchors(store: Store) -> str:
    found = store.results("explore").get("anchors")
    text = "## Anchors: is the explorer right?\n\n`multipaxos verify anchors`\n\n"
    if found is None:
        return text + NOT_RUN + "\n"
    text += (
        "Counts are unique states / generated / depth. The last column is the same model with one guard removed: a count "
        "that does not move would show nothing. Sources stand in `explore/anchors.py`.\n\n"
    )
    text += _table(
        ("model", "sizes", "published", "here", "one guard removed"),
        [
            (
                f"{row['name']} {row['model']}",
                ", ".join(f"{size} {name}" for name, size in row["sizes"].items()),
                _counts(row["published"]),
                _counts(row["here"]),
                f"{row['guard']}: {_counts(row['without_guard'])}",
            )
            for row in found["anchors"]
        ],
    )
    text += (
        "\nOne rule made wrong in Lamport's Paxos, or in stateright's (the rows with clients and servers); depth of the "
        "shortest way to two chosen values, and states seen:\n\n"
    )
    return text + _table(
        ("bug", "sizes", "measured elsewhere", "here"),
        [
            (
                row["mutant"],
                ", ".join(f"{size} {name}" for name, size in row["sizes"].items()),
                _death(row["published"]),
                _death(row["here"]) + (f" ({row['why']})" if row["why"] else ""),
            )
            for row in found["deaths"]
        ],
    )


def _counts(values: Sequence[int | None]) -> str:
    return " / ".join("-" if value is None else f"{value:,}" for value in values)


def _death(values: Sequence[int]) -> str:
    depth, states = values
    return (f"depth {depth}" if depth else "survives") + (f", {states:,} states" if states else "")


def _core(store: Store) -> str:
    text = "\n## The core that serves, searched\n\n"
    results = store.results("explore")
    found = results.get(_core_key(results))
    if found is None:
        return text + NOT_RUN + "\n"
    text += (
        f"`{found['command']}`\n\n{found['unique']:,} distinct states ({found['generated']:,} generated), depth "
        f"{found['depth']}, {'all there are' if found['exhausted'] else 'stopped: ' + str(found['stopped'])}, "
        f"{found['violations']} violations, {found['seconds']:,.0f} s ({found['states_per_s']:,} states/s). Distinct "
        f"among them: {', '.join(f'{count:,} {name}' for name, count in found['distinct'].items())}.\n\n"
    )
    return text + _table(("met on the way", "states"), [(name, count) for name, count in found["sometimes"].items()])


def _seeds(store: Store) -> str:
    text = "\n## Random worlds\n\n"
    for kind, what in (("seeds", "the whole service under ZooKeeper clients"), ("plain-seeds", "the core alone")):
        report = campaign_of(store, kind)
        text += f"### {what[0].upper()}{what[1:]}\n\n"
        if not report.seeds:
            text += NOT_RUN + "\n\n"
            continue
        missing = report.missing()
        text += (
            f"{_seed_commands(store, kind)}: {report.seeds:,} seeds of code {source_hash(kind)}, "
            f"{report.totals.get('operations', 0):,} operations (at least {report.fewest_operations} in each), "
            f"{report.virtual_ns / 3.6e12:,.0f} hours of virtual time in {report.seconds / 3600:.1f} h of all processes "
            f"together, **{report.violations} violations**. Liveness mode reached in {100 * report.share(LIVENESS):.1f} %. "
            f"Of the {len(REASONS)} transitions of the core {len(TRANSITIONS) - len(missing)} were taken"
            f"{' (not: ' + ', '.join(missing) + ')' if missing else ''}. {len(HOSTILE)} are left to tests, for only a peer "
            "that breaks the protocol or a directory used twice brings them about, and so is "
            f"{', '.join(UNLIKELY)}, which hardly ever comes: `tests/core/test_hostile_transitions.py` takes each of "
            "them.\n\n"
        )
        faults = report.faults()
        names = [LEADER_CHANGE, "a quorum is down", *(name for name in faults if not name.startswith("message "))]
        names += [name for name in faults if name.startswith("message ")]
        least = _least_shares(store, kind, names)
        text += _table(
            ("what struck", "times", "share of the seeds", f"least in any {WINDOW:,} in a row"),
            [
                (name, report.totals.get(name, 0), f"{100 * report.share(name):.1f} %", least.get(name, "-"))
                for name in names
            ],
        )
        text += "\n"
    return text


def _spans(store: Store, kind: str) -> list[tuple[int, int, Result]]:
    """The pieces of a campaign, ascending: (first seed, last seed, result)."""
    found = []
    for key, result in store.results(kind).items():
        first, _, last = key.partition("-")
        found.append((int(first), int(last), result))
    return sorted(found, key=lambda span: span[0])


def _seed_commands(store: Store, kind: str) -> str:
    """The commands that run the very seeds of a campaign; empty where none was run."""
    runs: list[list[int]] = []
    for first, last, _ in _spans(store, kind):
        if runs and runs[-1][1] == first - 1:
            runs[-1][1] = last
        else:
            runs.append([first, last])
    plain = " --plain" if kind == "plain-seeds" else ""
    return ", ".join(f"`multipaxos verify seeds{plain} --start {a} --count {b - a + 1} --jobs 2`" for a, b in runs)


def _least_shares(store: Store, kind: str, names: Sequence[str]) -> dict[str, str]:
    """Of each name its smallest share in any ``WINDOW`` seeds in a row, of pieces that were run; none where fewer were."""
    results = [result for _, _, result in _spans(store, kind)]
    least: dict[str, float] = {}
    end = seeds = 0
    for begin, result in enumerate(results):
        while seeds < WINDOW and end < len(results):
            seeds += results[end]["seeds"]
            end += 1
        if seeds < WINDOW:
            break
        for name in names:
            struck = sum(each["sums"]["seeds_with"].get(name, 0) for each in results[begin:end])
            least[name] = min(least.get(name, 1.0), struck / seeds)
        seeds -= result["seeds"]
    return {name: f"{100 * share:.1f} %" for name, share in least.items()}


def _mutants(store: Store) -> str:
    text = "## Known bugs\n\n`multipaxos verify mutants`\n\n"
    found = store.results("mutants").get("all")
    if found is None:
        return text + NOT_RUN + "\n"
    text += (
        f"Of {found['catalogue']} catalogued bugs of real systems {found['rows']} are expressed as patches of this code; "
        f"{found['killed']} are killed, {len(found['survived'])} survive, {len(found['waiting'])} wait for a mechanism that "
        f"does not exist yet. Beside them {found['rules_killed']} of {found['rules']} mutants of single rules. False alarms "
        f"on the unmutated twin: {len(found['false_alarms'])}. Canary: {found['canary']}. Median time to kill "
        f"{found['median_seconds']} s. A kill counts only when the invariant named for the row reports it.\n\n"
    )
    text += _table(
        ("bug", "stands for", "killed by", "runs", "seconds", "where"),
        [
            (
                trial["name"],
                ", ".join(trial["ids"]),
                trial["killer"] or "**survives**: " + (trial["argued"] or "not argued"),
                trial["runs"],
                f"{trial['seconds']:.1f}",
                trial["hunt"],
            )
            for trial in found["trials"]
        ],
    )
    return text + "\nWaiting:\n\n" + _table(("row", "for"), list(found["waiting"].items()))


def _storage(store: Store) -> str:
    text = "\n## The journal, crashed everywhere\n\n"
    results = store.results("storage")
    if not results:
        return text + NOT_RUN + "\n"
    names = (
        "workloads",
        "points",
        "states",
        "sampled",
        "flips",
        "cuts",
        "misplaced",
        "errors",
        "directories",
        "violations",
    )
    text += (
        "Workloads of a few operations each, run over again for every fault: *points* at which it crashed, *states* of the "
        "disk a crash may leave (all of them; at *sampled* points there were too many, and some were drawn), then every "
        "flipped bit, cut, misplaced block and failing call.\n\n"
    )
    return text + _table(
        ("command", *names, "seconds"),
        [
            (f"`{result['command']}`", *(result.get(name, 0) for name in names), f"{result['wall_s']:.0f}")
            for result in results.values()
        ],
    )


def _torture(store: Store) -> str:
    text = "\n## Real processes\n\n"
    results = store.results("torture")
    if not results:
        return text + NOT_RUN + "\n"
    rows = []
    nemeses: dict[str, list[int]] = {}
    for result in results.values():
        rows.append(
            (
                f"`{result['command'].partition(' --folder')[0]}`", result["acknowledged"], f"{result['per_second']:.0f}",
                f"{100 * result['unknown_share']:.1f} %", _number(result["lost"]), _number(result["violations"]),
                result["verdict"],
            )
        )  # fmt: skip
        for name, nemesis in result["nemeses"].items():
            sums = nemeses.setdefault(name, [0, 0])
            sums[0] += nemesis["strikes"]
            sums[1] += nemesis["shown"]
    networks = ", ".join(sorted({str(result["network"]) for result in results.values()}))
    text += (
        f"Replicas joined by: {networks}. The whole history of each run was judged; a verdict of ok says that all checkers "
        "agreed.\n\n"
    )
    text += _table(("run", "acknowledged", "per second", "outcome unknown", "lost", "violations", "verdict"), rows)
    return (
        text
        + "\n"
        + _table(("nemesis", "strikes", "effect shown"), [(name, *sums) for name, sums in sorted(nemeses.items())])
    )


def _earlier(store: Store) -> str:
    """What was found for other code: it proves nothing of the present one, and tells how long each kind has been run."""
    rows: list[tuple[object, ...]] = []
    for digest, results in store.earlier("torture").items():
        rows.append(
            (
                "torture", f"`{digest}`", f"{len(results)} runs, {_sum(results, 'acknowledged'):,} acknowledged operations",
                _sum(results, "lost"), _sum(results, "violations"),
            )
        )  # fmt: skip
    for digest, results in store.earlier("seeds").items():
        rows.append(("seeds", f"`{digest}`", f"{_sum(results, 'seeds'):,} seeds", "-", _sum(results, "violations")))
    if not rows:
        return ""
    return (
        "## Earlier code\n\nOf the same campaigns, before the last changes: it proves nothing of the present code. What was "
        "violated is mended: defects of the product stand in `CHANGELOG.md`, those of the simulator and its checkers are "
        "kept as seeds in `tests/sim/seeds.txt`.\n\n" + _table(("kind", "code", "what", "lost", "violations"), rows)
    )


def _tests(store: Store) -> str:
    text = "\n## `make test`, part by part\n\n"
    found = store.results("tests").get("parts")
    if found is None:
        return text + NOT_RUN + "\n"
    rows = sorted(found["parts"].items(), key=lambda item: -float(item[1]["seconds"]))
    text += f"{found['wall_s'] / 60:.1f} minutes on two cores; minutes of all workers together:\n\n"
    return (
        text
        + _table(
            ("part", "tests", "minutes"),
            [(name, int(part["tests"]), f"{part['seconds'] / 60:.2f}") for name, part in rows],
        )
        + "\n"
    )


def _origins(store: Store) -> str:
    rows = [
        (kind, f"`{source_hash(kind)}`", " + ".join(PARTS[kind]), results, machine)
        for kind in PARTS
        for machine, results in store.machines(kind).items()
    ]
    return (
        "## Which code, and where\n\nA hash is over the Python files of the packages that take part. *Compiled*: the "
        "same files, through mypyc, for speed; no command here builds that yet, and the hash does not prove what a compiled "
        "module was made of. Run the commands above to have the same seeds interpreted.\n\n"
        + _table(("kind", "code", "packages", "results", "machine"), rows)
    )


def hashes() -> str:
    """The code each kind of evidence speaks of, for people."""
    return "\n".join(f"{kind:12} {source_hash(kind)}" for kind in PARTS)
