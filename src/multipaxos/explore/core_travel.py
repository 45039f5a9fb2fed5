"""How states of the core's world cross from one process of a search to another.

Each process numbers messages, votes and local states for itself, as it meets them. So a state travels in the sender's
numbers, and whatever number is new to the receiver was told to it before: a message as it is, a local state as the way to it
(from which state, by which event, which outcome), which the receiver goes by itself where it must. Nothing is told twice.

Knows nothing of the search; ``core_world.py`` joins this to the hooks of ``model.py``.
"""

from multipaxos.core.ballot import ReplicaId
from multipaxos.core.messages import Message
from multipaxos.explore.core_local import Local, Locals
from multipaxos.explore.core_past import Past, Vote

ItemNews = tuple[int, ReplicaId, Message | None, Vote | None]
"""The sender's bit number of an item, and the item."""

LocalNews = tuple[int, int, int, int | str, int]
"""The sender's number of a local state and its digest; the number of the one before (-1: it is initial, and known by its
digest), the event (a bit number, or a name), and which outcome of it."""

News = tuple[int, list[ItemNews], list[LocalNews]]
"""Who tells, and what."""

Parcel = tuple[int, tuple[int, ...], int, int, int, str]
"""Who sends; the local states, the set and its hash, the crashes that are left, what is broken: of one state."""

INITIAL = -1


class Telling:
    """What one other process was told of this one's numbers, and what it must be told next."""

    def __init__(self) -> None:
        self.told_mask = 0
        self.told: set[int] = set()
        self.items: list[ItemNews] = []
        self.locals: list[LocalNews] = []

    def tell_items(self, net: int, past: Past) -> None:
        """Tell of the members of a set that are news."""
        unknown = net & ~self.told_mask
        if unknown:
            self.told_mask |= unknown
            for item in past.of(unknown):
                self.items.append((item.bit.bit_length() - 1, item.to, item.message, item.vote))

    def tell_local(self, local: Local, past: Past) -> None:
        """Tell of a local state, and first of those on the way to it."""
        way: list[Local] = []
        at: Local | None = local
        while at is not None and at.number not in self.told:
            self.told.add(at.number)
            way.append(at)
            at = None if at.origin is None else at.origin[0]
        for step in reversed(way):
            if step.origin is None:
                self.locals.append((step.number, step.digest, INITIAL, "", 0))
                continue
            before, event, outcome = step.origin
            if isinstance(event, str):
                self.locals.append((step.number, step.digest, before.number, event, outcome))
            else:
                self.tell_items(event.bit, past)
                self.locals.append((step.number, step.digest, before.number, event.bit.bit_length() - 1, outcome))

    def take_news(self, me: int) -> News | None:
        """What is to be told, once."""
        if not self.items and not self.locals:
            return None
        news = (me, self.items, self.locals)
        self.items = []
        self.locals = []
        return news


class Hearing:
    """What another process's numbers mean here."""

    def __init__(self) -> None:
        self.bits: dict[int, int] = {}
        self.locals: dict[int, Local] = {}

    def hear(self, items: list[ItemNews], news: list[LocalNews], locals_: Locals) -> None:
        """Take in what is told, in its order."""
        past = locals_.past
        for number, to, message, vote in items:
            if vote is not None:
                self.bits[number] = past.voted(vote).bit
            elif message is not None:
                self.bits[number] = past.sent(to, message).bit
        for number, mark, before, event, outcome in news:
            found = locals_.known.get(mark)
            if found is None:
                told = event if isinstance(event, str) else past.items[self.bits[event].bit_length() - 1]
                found = locals_.follow(self.locals[before], told, outcome)
                assert found.digest == mark, "a step of the core gives the same in every process"
            self.locals[number] = found

    def net(self, theirs: int) -> int:
        """A set in the numbers of this process."""
        bits = self.bits
        net = 0
        while theirs:
            low = theirs & -theirs
            theirs ^= low
            net |= bits[low.bit_length() - 1]
        return net
