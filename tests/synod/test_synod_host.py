"""The acceptor process with a disk that waits, fails or is full: what leaves it, and when."""

import asyncio
import contextlib
import errno
import threading

import pytest

from multipaxos.host import journal_thread, synod_acceptor
from multipaxos.host.synod import BY_HAND, run_acceptor
from multipaxos.host.synod_acceptor import AcceptorProcess
from multipaxos.host.synod_run import propose
from multipaxos.storage.disk import RealDisk
from multipaxos.storage.faults import JournalFailed, JournalFull
from multipaxos.storage.identity import DataDirectory
from multipaxos.synod.acceptor import NamedAcceptor
from multipaxos.synod.messages import Accept, Accepted, Ask, Nack, Prepare, Promise, Standing, decode, encode
from multipaxos.synod.proposer import CHOSEN, Settings
from multipaxos.wire.frame import BODY_AT, FrameParser, encode_frame

ONE = "1111111111111111"
TWO = "2222222222222222"
NAME = "colour"
SET = ("127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003")


class Trouble:
    """What the disk does at its next sync."""

    def __init__(self):
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.is_waiting = threading.Event()
        self.error = None


class TroubledFile:
    def __init__(self, file, trouble):
        self._file = file
        self._trouble = trouble

    def __getattr__(self, name):
        return getattr(self._file, name)

    def sync(self):
        if not self._trouble.may_sync.is_set():
            self._trouble.is_waiting.set()
            assert self._trouble.may_sync.wait(60)
        if self._trouble.error is not None:
            raise self._trouble.error
        self._file.sync()


class TroubledDisk(RealDisk):
    __slots__ = ("trouble",)

    def __init__(self, path, trouble):
        super().__init__(path)
        self.trouble = trouble

    def create(self, name):
        return TroubledFile(super().create(name), self.trouble)

    def open(self, name):
        return TroubledFile(super().open(name), self.trouble)


class Conversation:
    """One connection to the acceptor under test."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer
        self._parser = FrameParser()
        self._answers = []

    def send(self, *requests):
        for request in requests:
            self._writer.write(encode_frame(0, 1, encode(request)))

    async def answers(self, count):
        while len(self._answers) < count:
            data = await self._reader.read(1 << 16)
            if not data:
                raise ConnectionError
            self._answers += [decode(framed[BODY_AT:]) for _, _, framed in self._parser.feed(data)]
        found, self._answers = self._answers[:count], self._answers[count:]
        return found

    async def is_silent(self, seconds):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.answers(1)
            return False
        return True

    async def close(self):
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


class Bench:
    """One acceptor in this process, over a disk that can be troubled. Use it in an event loop."""

    def __init__(self, folder):
        self.trouble = Trouble()
        self.path = str(folder / "a")
        (folder / "a").mkdir()
        self.directory = DataDirectory.create(self.path, BY_HAND, TroubledDisk(self.path, self.trouble))
        self.journal = self.directory.journal(1 << 20)
        assert list(self.journal.recovered()) == []
        self.acceptor = NamedAcceptor(f"{self.directory.mark:016x}")
        self.said = []
        self._listening = asyncio.Event()
        self._conversations = []

    async def __aenter__(self):
        self.process = AcceptorProcess(self.acceptor, self.journal, self.say)
        self.task = asyncio.create_task(self.process.run("127.0.0.1", 0))
        await self._listening.wait()
        return self

    async def __aexit__(self, *error):
        self.trouble.may_sync.set()
        self.process.stop(None)
        with contextlib.suppress(JournalFailed):
            await self.task
        for conversation in self._conversations:
            await conversation.close()
        self.directory.close()

    def say(self, note):
        self.said.append(note)
        if note[0] == "acceptor.listening":
            self.address = note[1][0]
            self._listening.set()

    async def connect(self):
        host_name, _, port = self.address.rpartition(":")
        self._conversations.append(Conversation(*await asyncio.open_connection(host_name, int(port))))
        return self._conversations[-1]


def test_nothing_leaves_before_its_sync(tmp_path):
    """rule-R33, repeat-before-sync: the first promise, its repeat, a nack and a report of the vote wait for one sync.

    Also over another connection, and though three of the four write nothing.
    """

    async def story():
        async with Bench(tmp_path) as bench:
            first, second = await bench.connect(), await bench.connect()
            bench.trouble.may_sync.clear()
            first.send(Prepare(NAME, ONE, SET, 5))
            await asyncio.to_thread(bench.trouble.is_waiting.wait, 60)
            first.send(Prepare(NAME, ONE, SET, 5), Accept(NAME, ONE, SET, 5, "red"), Accept(NAME, ONE, SET, 5, "red"))
            second.send(Ask(NAME, TWO, SET), Accept(NAME, ONE, SET, 5, "red"), Prepare(NAME, TWO, SET, 3))
            silent = await asyncio.gather(first.is_silent(0.5), second.is_silent(0.5))
            assert silent == [True, True]
            assert bench.acceptor.decisions[NAME].vote == (5, "red")  # it has decided, and says nothing
            bench.trouble.may_sync.set()
            assert [type(answer) for answer in await first.answers(4)] == [Promise, Nack, Accepted, Accepted]
            assert [type(answer) for answer in await second.answers(3)] == [Standing, Accepted, Nack]

    asyncio.run(story())


def test_a_question_about_what_is_durable_waits_for_nobody(tmp_path):
    async def story():
        async with Bench(tmp_path) as bench:
            caller = await bench.connect()
            caller.send(Accept(NAME, ONE, SET, 5, "red"))
            assert [type(answer) for answer in await caller.answers(1)] == [Accepted]
            bench.trouble.may_sync.clear()
            caller.send(Ask(NAME, TWO, SET), Prepare(NAME, TWO, SET, 4))
            assert [type(answer) for answer in await caller.answers(2)] == [Standing, Nack]

    asyncio.run(story())


def test_a_failed_sync_stops_the_acceptor_and_nothing_was_answered(tmp_path):
    """rule-R37: no retry; the note in the directory is shown at the next start."""

    async def story():
        async with Bench(tmp_path) as bench:
            caller = await bench.connect()
            bench.trouble.error = OSError(errno.EIO, "input/output error")
            caller.send(Prepare(NAME, ONE, SET, 5))
            with pytest.raises(JournalFailed, match="input/output error"):
                await bench.task
            with pytest.raises(ConnectionError):
                await caller.answers(1)
            bench.trouble.error = None

    asyncio.run(story())
    directory = DataDirectory.open(str(tmp_path / "a"), BY_HAND)
    assert "input/output error" in directory.stopped
    directory.close()


def test_a_full_disk_answers_nobody_and_ends_by_itself(tmp_path, monkeypatch, caplog):
    """rule-R38: found before writing, nothing lost; when there is room again, the waiting answers leave."""
    monkeypatch.setattr(journal_thread, "FULL_RETRY_S", 0.01)

    async def story():
        async with Bench(tmp_path) as bench:
            caller = await bench.connect()
            flush, is_full = bench.journal.__class__.flush, threading.Event()
            is_full.set()

            def full_flush(journal):
                if is_full.is_set():
                    raise JournalFull("the disk is full; free some space there")
                return flush(journal)

            monkeypatch.setattr(bench.journal.__class__, "flush", full_flush)
            caller.send(Prepare(NAME, ONE, SET, 5))
            assert await caller.is_silent(0.3)
            assert "free some space there" in caplog.text
            is_full.clear()
            assert [type(answer) for answer in await caller.answers(1)] == [Promise]

    asyncio.run(story())


def test_what_waits_for_the_disk_is_bounded(tmp_path, monkeypatch):
    """Above the bound a caller is let go unanswered, which every proposer can bear; what waits is answered later."""
    monkeypatch.setattr(synod_acceptor, "WAITING_ANSWERS_MAX", 10)

    async def story():
        async with Bench(tmp_path) as bench:
            first, second = await bench.connect(), await bench.connect()
            bench.trouble.may_sync.clear()
            first.send(*(Prepare(NAME, ONE, SET, number) for number in range(10)))
            while len(bench.acceptor.decisions) == 0 or bench.acceptor.decisions[NAME].rules.promised < 9:
                await asyncio.sleep(0)
            first.send(Prepare(NAME, ONE, SET, 10))
            while bench.acceptor.decisions[NAME].rules.promised < 10:
                await asyncio.sleep(0)
            second.send(Prepare(NAME, TWO, SET, 11))
            with pytest.raises(ConnectionError):
                await second.answers(1)
            assert bench.acceptor.decisions[NAME].rules.promised == 10
            bench.trouble.may_sync.set()
            assert [answer.number for answer in await first.answers(11)] == list(range(11))

    asyncio.run(story())


def test_callers_are_bounded_and_the_silent_ones_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(synod_acceptor, "CALLERS_MAX", 3)

    async def story():
        async with Bench(tmp_path) as bench:
            callers = []
            for _ in range(3):
                callers.append(await bench.connect())
                callers[-1].send(Ask(NAME, ONE, SET))
                await callers[-1].answers(1)
            callers[0].send(Ask(NAME, ONE, SET))
            await callers[0].answers(1)
            callers.append(await bench.connect())
            callers[3].send(Ask(NAME, ONE, SET))
            await callers[3].answers(1)
            with pytest.raises(ConnectionError):
                await callers[1].answers(1)
            for at in (0, 2, 3):
                callers[at].send(Ask(NAME, ONE, SET))
                await callers[at].answers(1)

    asyncio.run(story())


def test_a_bug_in_the_rules_stops_the_acceptor(tmp_path, monkeypatch):
    """An acceptor that does not know its own state must not go on answering."""

    async def story():
        async with Bench(tmp_path) as bench:
            monkeypatch.setattr(NamedAcceptor, "_begin", lambda *_: 1 / 0)
            asyncio.get_running_loop().set_exception_handler(lambda *_: None)
            caller = await bench.connect()
            caller.send(Prepare(NAME, ONE, SET, 5))
            with pytest.raises(ZeroDivisionError):
                await bench.task
            bench.task = asyncio.get_running_loop().create_future()
            bench.task.set_result(None)

    asyncio.run(story())


def test_a_connection_that_breaks_in_every_phase_is_made_anew(tmp_path):
    """claim-A6, PMMC ex. 4: each answer of the only acceptor is lost once with its connection; the run ends all the same."""

    async def story():
        async with Bench(tmp_path) as bench:
            lost = 0

            async def cut(reader, writer):
                """Passes requests on; cuts the connection when the answer comes, for each kind of answer once."""
                nonlocal lost
                there, back = await asyncio.open_connection(*bench.address.split(":"))
                parser = FrameParser()

                async def forth():
                    while data := await reader.read(1 << 16):
                        back.write(data)

                task = asyncio.create_task(forth())
                while data := await there.read(1 << 16):
                    kinds = {type(decode(framed[BODY_AT:])) for _, _, framed in parser.feed(data)}
                    if kinds - seen:
                        seen.update(kinds)
                        lost += 1
                        break
                    writer.write(data)
                task.cancel()
                back.close()
                writer.close()

            seen = set()
            async with await asyncio.start_server(cut, "127.0.0.1", 0) as proxy:
                way = f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
                outcome, run = await propose(NAME, "red", (way,), settings=Settings(timeout_ns=60_000_000_000))
            assert (outcome.kind, outcome.value) == (CHOSEN, "red")
            assert seen == {Standing, Promise, Nack, Accepted}
            assert lost == 4
            assert run.attempts >= 2

    asyncio.run(story())


def test_a_directory_of_the_service_is_refused(tmp_path, capsys):
    """An acceptor by hand has its own kind of directory, and a damaged one is not started from."""
    DataDirectory.create(str(tmp_path / "replica"), 1).close()
    assert run_acceptor("127.0.0.1:0", str(tmp_path / "replica")) == 1
    assert "belongs to replica 1" in capsys.readouterr().err
    directory = DataDirectory.create(str(tmp_path / "hand"), BY_HAND)
    directory.close()
    segment = sorted((tmp_path / "hand").glob("*.segment"))[-1]
    data = bytearray(segment.read_bytes())
    data[20] ^= 1
    segment.write_bytes(data)
    assert run_acceptor("127.0.0.1:0", str(tmp_path / "hand")) == 1
    assert "must never answer again" in capsys.readouterr().err
