"""Basic Paxos by hand with real processes, real sockets and real disks: what kill -9, restarts and bad callers do to it."""

import asyncio
import json
import os
import random
import re
import secrets
import signal
import socket
import sys
import time

import pytest
from synod_processes import AcceptorProcesses, reserve, typed

from multipaxos.host.synod_run import class_of, learn, propose
from multipaxos.synod.messages import Ask, Prepare, Promise, Standing, decode, encode
from multipaxos.synod.proposer import CHOSEN, NONE_CHOSEN, REFUSED, TIMED_OUT, Settings
from multipaxos.wire.frame import BODY_AT, HEADER_BYTES, FrameParser, encode_frame

pytestmark = pytest.mark.processes

QUICK = Settings(linger_ns=0, timeout_ns=60_000_000_000)
ROUNDS = 50


async def exchange(address, *requests):
    """Send requests over one connection and read as many answers."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for at, request in enumerate(requests):
        writer.write(encode_frame(0, at, encode(request)))
    parser = FrameParser()
    answers = []
    while len(answers) < len(requests):
        data = await reader.read(1 << 16)
        if not data:
            break
        answers += [decode(framed[BODY_AT:]) for _, _, framed in parser.feed(data)]
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.slow
def test_fifty_duels_while_any_two_of_five_are_killed(tmp_path):
    """claims A3, A4, A10, A13, A14, A17: one value each time, and every later run returns it."""
    chance = random.Random(20_260_101)
    chosen = {}
    attempts = 0
    overlapped = 0

    async def kill_and_start(processes, label, duel):
        await asyncio.sleep(chance.random() * 0.03)
        nonlocal overlapped
        overlapped += not duel.done()
        await processes.kill(label)
        await processes.start(label, "--quiet")

    async def story():
        nonlocal attempts
        async with AcceptorProcesses(tmp_path, 5) as processes:
            await processes.start_all("--quiet")
            everybody = processes.all
            for at in range(ROUNDS):
                name = f"name-{at}"
                duel = asyncio.gather(
                    propose(name, f"red-{at}", everybody, settings=QUICK),
                    propose(name, f"blue-{at}", everybody, settings=QUICK),
                )
                victims = chance.sample(processes.labels, 2)
                await asyncio.gather(duel, *(kill_and_start(processes, label, duel) for label in victims))
                outcomes = [outcome for outcome, _ in duel.result()]
                attempts += sum(run.attempts for _, run in duel.result())
                assert [outcome.kind for outcome in outcomes] == [CHOSEN, CHOSEN]
                assert outcomes[0].value == outcomes[1].value
                assert outcomes[0].value in (f"red-{at}", f"blue-{at}")
                chosen[name] = outcomes[0].value
                assert sum(outcome.is_own for outcome in outcomes) == 1
                outcome, _ = await learn(name, everybody, QUICK)
                assert (outcome.kind, outcome.value) == (CHOSEN, chosen[name])
            for label in processes.labels:
                await processes.kill(label)
            await processes.start_all("--quiet")
            for name, value in chosen.items():
                runs = await asyncio.gather(
                    propose(name, "late", everybody, settings=QUICK), learn(name, everybody, QUICK)
                )
                assert {outcome.value for outcome, _ in runs} == {value}
                assert {outcome.kind for outcome, _ in runs} == {CHOSEN}
            return processes.kills

    began = time.monotonic()
    kills = asyncio.run(story())
    print(
        f"{ROUNDS} duels in {time.monotonic() - began:.1f} s: {kills} kills, {overlapped} of them during a duel, "
        f"{attempts} ballots, {sum(value.startswith('red') for value in chosen.values())} times the first of the two"
    )
    assert kills == 2 * ROUNDS + 5
    assert len(chosen) == ROUNDS
    # What the test is for did happen: kills met runs in flight, and proposers met each other.
    assert overlapped >= ROUNDS // 5
    assert attempts > 2 * ROUNDS


def test_a_killed_acceptor_remembers_what_it_answered(tmp_path):
    """claim-A4: promise and vote after kill -9 are those that were answered, with the run they were given to."""
    name, run, other = "colour", "1111111111111111", "2222222222222222"

    async def story():
        async with AcceptorProcesses(tmp_path, 1) as processes:
            await processes.start("A1")
            first = processes.said["A1"]
            assert first[0].startswith("First start: created ")
            address = processes.addresses["A1"]
            three = (address, "127.0.0.1:1", "127.0.0.1:2")
            three = tuple(sorted(three))
            known = None
            for number in range(0, 40, 4):
                answers = await exchange(
                    address,
                    Prepare(name, run, three, number),
                    Prepare(name, other, three, number + 1),
                    Ask(name, run, three),
                )
                assert [type(answer) for answer in answers] == [Promise, Promise, Standing]
                assert answers[2].promised == number + 1
                assert answers[2].promised_run == other
                assert known in (None, answers[0].acceptor)
                known = answers[0].acceptor
                await processes.kill("A1")
                await processes.start("A1")
                assert processes.said["A1"][0].endswith(f"acceptor {known}, names known: 1.")
                after = await exchange(address, Ask(name, run, three), Prepare(name, run, three, number + 1))
                assert after[0] == answers[2]
                assert (after[1].promised, after[1].promised_run) == (number + 1, other)

    asyncio.run(story())


def test_a_majority_that_is_killed_and_comes_back_finishes_the_run(tmp_path):
    """Nobody answers for a while: the run waits, connects anew and goes on where it was."""

    async def story():
        async with AcceptorProcesses(tmp_path, 3) as processes:
            await processes.start("A1")
            run = asyncio.create_task(propose("colour", "red", processes.all, settings=QUICK))
            await processes.start_all()
            outcome, _ = await run
            assert outcome.value == "red"
            for label in processes.labels:
                await processes.kill(label)
            run = asyncio.create_task(learn("colour", processes.all, QUICK))
            await processes.start("A3")
            await processes.start("A1")
            outcome, learner = await run
            assert (outcome.kind, outcome.value) == (CHOSEN, "red")
            assert learner.heard[processes.addresses["A2"]].trouble == "nobody listens there"

    asyncio.run(story())


def test_a_frozen_minority_holds_nobody_up_and_a_frozen_majority_does(tmp_path):
    """claim-A2: slow is not dead; what a frozen acceptor was sent it answers later, and nothing breaks."""

    async def story():
        async with AcceptorProcesses(tmp_path, 3) as processes:
            await processes.start_all()
            processes.freeze("A1")
            outcome, _ = await propose("colour", "red", processes.all, settings=QUICK)
            assert outcome.value == "red"
            processes.freeze("A2")
            short = Settings(timeout_ns=1_500_000_000)
            outcome, run = await propose("colour", "blue", processes.all, settings=short)
            assert outcome.kind == TIMED_OUT
            assert outcome.note[0] == "run.timeout.asking"
            assert "A1" in run.awaited() or run.heard[processes.addresses["A1"]].last[0] == "heard.nothing"
            processes.thaw("A1")
            processes.thaw("A2")
            outcome, _ = await propose("colour", "green", processes.all, settings=QUICK)
            assert outcome.value == "red"

    asyncio.run(story())


def test_two_sets_for_one_name_are_refused(tmp_path):
    """other-set, rule-R52, typed at the command line, and after a restart of the acceptor that knows."""

    async def story():
        async with AcceptorProcesses(tmp_path, 5) as processes:
            await processes.start_all()
            a, b, c, d, e = processes.all
            code, out, _ = await typed("propose", "colour", "red", "--acceptors", f"{a},{b},{c}")
            assert code == 0, out
            await processes.kill("A3")
            await processes.start("A3")
            for command in (["propose", "colour", "blue"], ["learn", "colour"]):
                code, out, _ = await typed(*command, "--acceptors", f"{c},{d},{e}")
                assert code == 1
                told = " ".join(out.split())
                assert f"Refused: A1 ({c}) knows this name under another set of acceptors" in told
                assert f"Stored: {', '.join(sorted((a, b, c)))}." in told
            code, out, _ = await typed("learn", "colour", "--json", "--acceptors", f"{c},{a},localhost:{b[10:]}")
            assert code == 0
            assert json.loads(out)["value"] == "red"
            outcome, _ = await propose("other", "blue", (c, d, e), settings=QUICK)
            assert outcome.value == "blue"

    asyncio.run(story())


def test_one_acceptor_at_two_addresses_is_refused(tmp_path):
    """listed-twice, rule-R52: in two spellings at once, and through a second way to the same process."""

    async def story():
        async with AcceptorProcesses(tmp_path, 2) as processes:
            await processes.start_all()
            a, b = processes.all
            code, _, complaint = await typed("propose", "colour", "red", "--acceptors", f"{a},{b},localhost:{a[10:]}")
            assert code == 2
            assert f"the acceptor {a} is listed twice" in complaint
            async with await forward(a) as second:
                way = f"127.0.0.1:{second.sockets[0].getsockname()[1]}"
                code, out, _ = await typed("propose", "colour", "red", "--acceptors", f"{a},{b},{way}")
                assert code == 1
                told = " ".join(out.split())
                assert re.search(rf"Refused: ({a} and {way}|{way} and {a}) are one acceptor, [0-9a-f]{{16}}\.", told)
            outcome, _ = await learn("colour", (a, b, way), Settings(timeout_ns=500_000_000))
            assert outcome.kind == TIMED_OUT or outcome.kind == NONE_CHOSEN

    asyncio.run(story())


async def forward(address):
    """Another port that leads to the same acceptor."""
    tasks = set()

    async def pump(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def both(reader, writer):
        host, _, port = address.rpartition(":")
        there, back = await asyncio.open_connection(host, int(port))
        for pair in ((reader, back), (there, writer)):
            task = asyncio.ensure_future(pump(*pair))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    return await asyncio.start_server(both, "127.0.0.1", 0)


def test_two_runs_with_the_same_id_are_safe(tmp_path):
    """Twenty pairs of runs that share --id 1 --of 3 and so meet at equal numbers: one value for each name."""

    async def story():
        async with AcceptorProcesses(tmp_path, 3) as processes:
            await processes.start_all("--quiet")
            shared = 0
            for at in range(20):
                name = f"name-{at}"
                runs = await asyncio.gather(
                    *(propose(name, value, processes.all, 1, 3, settings=QUICK) for value in ("red", "blue"))
                )
                values = {outcome.value for outcome, _ in runs}
                assert len(values) == 1
                shared += max(run.attempts for _, run in runs) > 1
                outcome, _ = await learn(name, processes.all, QUICK)
                assert {outcome.value} == values
                assert all(run.number % 3 == 1 for _, run in runs)
            assert shared

    asyncio.run(story())


def test_an_equal_number_is_explained(tmp_path):
    """Two runs typed with one --number: the second is told who has it, and needs exactly one retry."""

    async def story():
        async with AcceptorProcesses(tmp_path, 3) as processes:
            await processes.start_all()
            listed = ",".join(processes.all)
            await typed("propose", "colour", "red", "--number", "4", "--id", "1", "--of", "3", "--acceptors", listed)
            code, out, _ = await typed(
                "propose", "colour", "blue", "--number", "4", "--id", "1", "--of", "3", "--acceptors", listed
            )
            assert code == 0
            told = " ".join(out.split())
            assert told.count("4 refused, has promised 4 to run") == 3
            assert told.count("which uses the same number") == 3
            assert "Number 7 = 2*3 + 1: the smallest above 4" in told
            assert told.count("message 1: prepare") == 2
            assert "Chosen: colour = red, at number 7. It was there already" in told

    asyncio.run(story())


def test_names_are_bounded(tmp_path):
    async def story():
        async with AcceptorProcesses(tmp_path, 1) as processes:
            await processes.start("A1", "--names-max", "2")
            for name in ("a", "b"):
                outcome, _ = await propose(name, "v", processes.all, settings=QUICK)
                assert outcome.kind == CHOSEN
            outcome, _ = await propose("c", "v", processes.all, settings=QUICK)
            assert (outcome.kind, outcome.note[0]) == (REFUSED, "run.too-many-names")
            await processes.kill("A1")
            await processes.start("A1", "--names-max", "2")
            outcome, _ = await propose("c", "v", processes.all, settings=QUICK)
            assert outcome.kind == REFUSED
            outcome, _ = await propose("a", "w", processes.all, settings=QUICK)
            assert outcome.value == "v"

    asyncio.run(story())


def test_a_flipped_byte_costs_a_connection_and_nothing_else(tmp_path):
    """claim-A9: damage is loss; each byte of a prepare flipped, the promise unchanged."""

    async def story():
        async with AcceptorProcesses(tmp_path, 1) as processes:
            await processes.start("A1")
            address = processes.addresses["A1"]
            host, _, port = address.rpartition(":")
            run = "1111111111111111"
            await exchange(address, Prepare("colour", run, (address,), 1))
            whole = encode_frame(0, 1, encode(Prepare("colour", run, (address,), 900)))
            for at in range(len(whole)):
                damaged = bytearray(whole)
                damaged[at] ^= 1 << (at % 8)
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(bytes(damaged))
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
            answers = await exchange(address, Ask("colour", run, (address,)))
            assert answers[0].promised == 1
            for body in (b"no json", b"{}", encode(answers[0])):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(encode_frame(0, 1, body))
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
            assert await exchange(address, Ask("colour", run, (address,))) == answers

    asyncio.run(story())


def test_who_answers_like_no_acceptor_is_named(tmp_path):
    """A run pointed at something else says so when it gives up, and what it heard from the others."""

    async def story():
        held, nobody = reserve()

        async def greet(reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(HEADER_BYTES))
            writer.close()

        async with (
            AcceptorProcesses(tmp_path, 1) as processes,
            await asyncio.start_server(greet, "127.0.0.1", 0) as web,
        ):
            await processes.start("A1")
            other = f"127.0.0.1:{web.sockets[0].getsockname()[1]}"
            listed = f"{processes.all[0]},{nobody},{other}"
            code, out, _ = await typed("propose", "colour", "red", "--timeout", "8", "--acceptors", listed)
            assert code == 1
            told = " ".join(out.split())
            assert "Timed out: 1 answered the question, 2 are needed." in told
            assert f"A1 {processes.all[0]}: has promised nothing, has accepted nothing" in told
            assert f"A2 {nobody}: no answer (nobody listens there)" in told
            assert f"A3 {other}: no answer (it answers like no acceptor" in told
            code, out, _ = await typed("learn", "colour", "--timeout", "8", "--json", "--acceptors", listed)
            assert code == 1
            found = json.loads(out)
            assert (found["outcome"], found["value"]) == ("timed out", None)
            assert [acceptor["connected"] for acceptor in found["acceptors"]] == [True, False, False]
        held.close()

    asyncio.run(story())


def test_directories_that_must_not_be_used_are_refused_by_name(tmp_path):
    """rule-R41: in use, emptied, copied, foreign; each with what to do. And a clean stop is exit 0."""

    async def story():
        async with AcceptorProcesses(tmp_path, 1) as processes:
            await processes.start("A1")
            again = ["acceptor", "--listen", "127.0.0.1:0", "--dir"]
            code, _, complaint = await typed(*again, str(tmp_path / "a1"))
            assert (code, "is in use by process" in complaint) == (1, True)
            taken = ["acceptor", "--listen", processes.all[0], "--dir", str(tmp_path / "other")]
            code, _, complaint = await typed(*taken)
            assert (code, "cannot listen on" in complaint) == (1, True)
            assert await processes.end("A1") == 0
            (tmp_path / "empty").mkdir()
            code, _, complaint = await typed(*again, str(tmp_path / "empty"))
            assert (code, "exists and is empty" in complaint) == (1, True)
            (tmp_path / "foreign").mkdir()
            (tmp_path / "foreign" / "letter").write_text("dear")
            code, _, complaint = await typed(*again, str(tmp_path / "foreign"))
            assert (code, "no multipaxos data directory" in complaint) == (1, True)
            (tmp_path / "copy").mkdir()
            for file in (tmp_path / "a1").iterdir():
                (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
            code, _, complaint = await typed(*again, str(tmp_path / "copy"))
            assert (code, "is a copy" in complaint) == (1, True)
            await processes.start("A1")
            assert processes.said["A1"][0].startswith("Opened ")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["propose", "", "v", "--acceptors", "h:1"], "NAME cannot be used: it is empty"),
        (["propose", "n" * 256, "v", "--acceptors", "h:1"], "256 bytes"),
        (["propose", "n", "v" * 65_537, "--acceptors", "h:1"], "at most 65536"),
        (["propose", "n", "v", "--acceptors", "h"], "write HOST:PORT"),
        (["propose", "n", "v", "--acceptors", "h:1", "--id", "3", "--of", "3"], "from 0 to N-1"),
        (["propose", "n", "v", "--acceptors", "h:1", "--id", "1"], "go together"),
        (["propose", "n", "v", "--acceptors", "h:1", "--id", "0", "--of", "3", "--number", "4"], "proposer 1 of 3"),
        (["propose", "n", "v", "--acceptors", "h:1", "--number", "-4"], "0 or more"),
        (["propose", "n", "v", "--acceptors", "h:1", "--timeout", "0"], "--timeout"),
        (["learn", "n", "--acceptors", "h:1,H:1"], "listed twice"),
        (["learn", "n", "--acceptors", "h:1", "--timeout", "nan"], "--timeout"),
        (["acceptor", "--listen", "7001"], "write HOST:PORT"),
        (["acceptor", "--listen", ":7001"], "write HOST:PORT"),
        (["acceptor", "--listen", "127.0.0.1:0", "--names-max", "0"], "--names-max"),
    ],
)
def test_wrong_usage_is_exit_2_and_says_what_to_type(arguments, complaint, tmp_path):
    if arguments[0] == "acceptor":
        arguments = [*arguments, "--dir", str(tmp_path / "never-made")]
    code, out, said = asyncio.run(typed(*arguments))
    assert not list(tmp_path.iterdir())
    assert code == 2
    assert not out
    assert complaint in said


def test_ctrl_c_ends_a_run_that_waits(tmp_path):
    """Exit 130; and the command line proper, which also wants to know where an acceptor keeps things."""

    async def story():
        held, nobody = reserve()
        for command in (["propose", "n", "v"], ["learn", "n"]):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "multipaxos", *command, "--acceptors", nobody, stdout=asyncio.subprocess.PIPE
            )
            assert (await process.stdout.readline()).startswith(b"Propose" if command[0] == "propose" else b"Learn")
            process.send_signal(signal.SIGINT)
            await process.communicate()
            assert process.returncode == 130
        held.close()
        code, _, complaint = await typed(
            "acceptor", "--listen", "127.0.0.1:0", command=[sys.executable, "-m", "multipaxos"], folder=tmp_path
        )
        assert code == 2
        assert "--dir" in complaint
        assert not list(tmp_path.iterdir())

    asyncio.run(story())


def test_a_class_is_drawn_from_65536_where_none_is_given(monkeypatch):
    monkeypatch.setattr(secrets, "randbelow", lambda bound: bound - 1)
    assert class_of(None, None) == (65_535, 65_536)
    assert class_of(2, 5) == (2, 5)
    assert class_of(None, None, 65_540) == (4, 65_536)


def test_the_acceptor_listens_and_the_proposer_connects(tmp_path):
    """claim-A19: one listening socket in the acceptor, outgoing connections from the proposer, and those made anew."""

    async def story():
        async with AcceptorProcesses(tmp_path, 1) as processes:
            await processes.start("A1")
            address = processes.all[0]
            port = int(address.rpartition(":")[2])
            pid = processes.running["A1"].pid
            listening = [row for row in sockets_of(pid) if row[1] == "0A"]
            assert [row[0] for row in listening] == [port]
            with socket.create_connection(("127.0.0.1", port)):
                outcome, _ = await propose("colour", "red", processes.all, settings=QUICK)
            assert outcome.kind == CHOSEN
            assert [row for row in sockets_of(os.getpid()) if row[1] == "0A" and row[0] == port] == []

    asyncio.run(story())


def sockets_of(pid):
    """(local port, state) of the TCP sockets of a process, from the kernel's own table."""
    found = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.add(os.readlink(f"/proc/{pid}/fd/{entry}"))
        except OSError:
            continue
    rows = []
    with open(f"/proc/{pid}/net/tcp") as table:
        for line in table.readlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in found:
                rows.append((int(fields[1].rpartition(":")[2], 16), fields[3]))
    return rows
