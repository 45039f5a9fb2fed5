"""Single-decree Paxos behind a register: each client puts a value to one server, then gets it from the next.

Source: stateright ``ab8c8be``, ``examples/paxos.rs``, ``can_model_paxos``. Published (anchor-S1): 16,668 states for 2 clients
and 3 servers, on a network that loses and repeats nothing, but reorders. ``stateright_mutants.py`` holds the same with one
rule wrong at a time.

What matters for the count: a server does its own part of a phase inside the step that begins it; a message that changes
nothing and is not answered stays in the network and is no step; what the clients saw is part of the state.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from multipaxos.explore.model import Always, Model, Sometimes
from multipaxos.explore.register_history import Client, History, begin, end, history_text, is_linearizable, plain
from multipaxos.explore.tuples import put

Ballot = tuple[int, int]  # round, server
Proposal = tuple[int, int, str]  # request, client, value
Accepted = tuple[Ballot, Proposal] | tuple[()]  # () sorts before all that was ever accepted
# ("put", request, value)  ("put done", request)  ("get", request)  ("get done", request, value)  between client and server,
# ("prepare", ballot)  ("promise", ballot, accepted)  ("accept", ballot, proposal)  ("accepted", ballot)
# ("decided", ballot, proposal)  between servers
Message = tuple[Any, ...]
Letter = tuple[int, int, Message]  # from, to; servers come first, then clients


class Server(NamedTuple):
    """Proposer and acceptor in one, with one ballot for both."""

    ballot: Ballot = (0, 0)
    proposal: Proposal | None = None
    promises: frozenset[tuple[int, Accepted]] = frozenset()
    votes: frozenset[int] = frozenset()
    accepted: Accepted = ()
    is_decided: bool = False


class State(NamedTuple):
    """The network is sorted: it has no order. A client awaits the answer to one request, or to none (0)."""

    servers: tuple[Server, ...]
    awaited: tuple[int, ...]
    network: tuple[Letter, ...]
    history: History


# What a server becomes, and what it sends as (to, message); None when it leaves the message alone.
Reaction = tuple[Server, list[tuple[int, Message]]] | None


class StaterightPaxos(Model[State]):
    """Each rule is a method of its own, so that a bug is one of them changed."""

    always = (
        Always("linearizable", lambda state: "" if is_linearizable(state.history) else "no order explains the reads"),
    )
    sometimes = (
        Sometimes("value chosen", lambda state: any(letter[2][0] == "get done" for letter in state.network)),
        Sometimes("two proposers", lambda state: sum(server.proposal is not None for server in state.servers) > 1),
    )

    def __init__(self, clients: int = 2, servers: int = 3) -> None:
        self.clients = clients
        self.servers = range(servers)
        self.quorum = servers // 2 + 1

    def initial(self) -> Iterable[State]:
        """Each client has put its own letter."""
        history: History = (Client(),) * self.clients
        network = []
        for client in range(self.clients):
            name = len(self.servers) + client
            value = chr(ord("A") + client)
            network.append((name, name % len(self.servers), ("put", name, value)))
            history = begin(history, client, value)
        names = tuple([letter[0] for letter in network])
        yield State((Server(),) * len(self.servers), names, tuple(sorted(network)), history)

    def successors(self, state: State) -> Iterable[tuple[str, State]]:
        """A letter arrives."""
        for place, letter in enumerate(state.network):
            if place and letter == state.network[place - 1]:
                continue  # a second copy of the same
            sender, receiver, message = letter
            rest = state._replace(network=state.network[:place] + state.network[place + 1 :])
            if receiver in self.servers:
                reaction = self.react(receiver, state.servers[receiver], sender, message)
                if reaction is not None:
                    server, sent = reaction
                    letters = [(receiver, to, told) for to, told in sent]
                    network = tuple(sorted([*rest.network, *letters]))
                    servers = put(state.servers, receiver, server)
                    yield label(letter), rest._replace(servers=servers, network=network)
            elif message[1] == state.awaited[receiver - len(self.servers)]:
                yield label(letter), self.answered(rest, receiver, message)

    def answered(self, state: State, name: int, message: Message) -> State:
        """A client hears of its request. After the put it gets, from the next server; after that it rests."""
        client = name - len(self.servers)
        if message[0] == "get done":
            return state._replace(awaited=put(state.awaited, client, 0), history=end(state.history, client, message[2]))
        request = 2 * name
        letter = (name, (name + 1) % len(self.servers), ("get", request))
        return state._replace(
            awaited=put(state.awaited, client, request),
            network=tuple(sorted([*state.network, letter])),
            history=begin(end(state.history, client), client, None),
        )

    def react(self, name: int, server: Server, sender: int, message: Message) -> Reaction:
        """What a server does with a message; once it knows the decision it only answers reads."""
        if server.is_decided:
            return self.on_get(server, sender, message[1]) if message[0] == "get" else None
        match message:
            case ("put", request, value):
                return self.on_put(name, server, (request, sender, value))
            case ("prepare", ballot):
                return self.on_prepare(server, sender, ballot)
            case ("promise", ballot, accepted):
                return self.on_promise(name, server, sender, ballot, accepted)
            case ("accept", ballot, proposal):
                return self.on_accept(server, sender, ballot, proposal)
            case ("accepted", ballot):
                return self.on_accepted(name, server, sender, ballot)
            case ("decided", ballot, proposal):
                return server._replace(ballot=ballot, accepted=(ballot, proposal), is_decided=True), []
        return None

    def describe(self, state: State) -> str:
        """What the servers hold, and what the clients saw."""
        servers = [
            f"{name}{' decided' if server.is_decided else ''} ballot {server.ballot} accepted {server.accepted or 'nothing'}"
            for name, server in enumerate(state.servers)
        ]
        return f"{'; '.join(servers)}; {history_text(state.history)}"

    def canonical(self, state: State) -> object:
        """The same in built-in types, which are told apart sooner."""
        return tuple([tuple(server) for server in state.servers]), state.awaited, state.network, plain(state.history)

    def on_get(self, server: Server, client: int, request: int) -> Reaction:
        """The decision, if there is one."""
        return (server, [(client, ("get done", request, server.accepted[1][2]))]) if server.accepted else None

    def on_put(self, name: int, server: Server, proposal: Proposal) -> Reaction:
        """Begin a ballot for the first request; its own promise comes at once."""
        if server.proposal is not None:
            return None
        ballot = (server.ballot[0] + 1, name)
        promises = frozenset([(name, server.accepted)])
        after = server._replace(ballot=ballot, proposal=proposal, promises=promises, votes=frozenset())
        return after, self.to_others(name, ("prepare", ballot))

    def on_prepare(self, server: Server, sender: int, ballot: Ballot) -> Reaction:
        """Promise a higher ballot."""
        if ballot <= server.ballot:
            return None
        return server._replace(ballot=ballot), [(sender, ("promise", ballot, server.accepted))]

    def on_promise(self, name: int, server: Server, sender: int, ballot: Ballot, accepted: Accepted) -> Reaction:
        """With the promise that makes a quorum: propose, and vote at once."""
        if not self.is_of_this_ballot(server, ballot):
            return None
        promises = server.promises | {(sender, accepted)}
        after = server._replace(promises=promises)
        if len(promises) != self.quorum:
            return after, []
        proposal = self.proposal_allowed(server, promises)
        after = after._replace(proposal=proposal, accepted=(ballot, proposal), votes=server.votes | {name})
        return after, self.to_others(name, ("accept", ballot, proposal))

    def is_of_this_ballot(self, server: Server, ballot: Ballot) -> bool:
        """An answer to an older ballot does not count."""
        return ballot == server.ballot

    def proposal_allowed(self, server: Server, promises: frozenset[tuple[int, Accepted]]) -> Proposal:
        """What was accepted in the highest ballot; the client's, when nothing was."""
        highest = max([accepted for _, accepted in promises])
        if highest:
            return highest[1]
        assert server.proposal is not None
        return server.proposal

    def on_accept(self, server: Server, sender: int, ballot: Ballot, proposal: Proposal) -> Reaction:
        """Vote, unless a higher ballot was promised."""
        if not self.may_accept(server, ballot):
            return None
        after = server._replace(ballot=self.ballot_after(server, ballot), accepted=(ballot, proposal))
        return after, [(sender, ("accepted", ballot))]

    def may_accept(self, server: Server, ballot: Ballot) -> bool:
        """Not below the promise."""
        return server.ballot <= ballot

    def ballot_after(self, server: Server, ballot: Ballot) -> Ballot:
        """Accepting promises as well."""
        return ballot

    def on_accepted(self, name: int, server: Server, sender: int, ballot: Ballot) -> Reaction:
        """With the vote that makes a quorum: tell the others, and the client."""
        if not self.is_vote_of_this_ballot(server, ballot):
            return None
        votes = server.votes | {sender}
        after = server._replace(votes=votes)
        if len(votes) != self.quorum:
            return after, []
        assert server.proposal is not None
        request, client, _ = server.proposal
        told = self.to_others(name, ("decided", ballot, server.proposal))
        return after._replace(is_decided=True), [*told, (client, ("put done", request))]

    def is_vote_of_this_ballot(self, server: Server, ballot: Ballot) -> bool:
        """A vote in an older ballot does not count."""
        return ballot == server.ballot

    def to_others(self, name: int, message: Message) -> list[tuple[int, Message]]:
        """To every server but this one."""
        return [(other, message) for other in self.servers if other != name]


def label(letter: Letter) -> str:
    """A letter, for people."""
    sender, receiver, message = letter
    return f"{sender} -> {receiver} {' '.join([str(part) for part in message])}"
