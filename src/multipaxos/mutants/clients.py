"""Section E of the catalogue: clients, sessions, watches, ephemerals; and the rules of coordination/ and service/
(rule-R9, rule-R10, rule-R14, rule-R17, rule-R21, rule-R24 to R27).
"""

from typing import Final

from multipaxos.mutants.hunts import Hunt, check, script, seeds
from multipaxos.mutants.mutant import Mutant, Patch, Waiting


def service(schedule: str) -> Hunt:
    """A schedule of ``service_hunts.py``."""
    return check("multipaxos.mutants.service_hunts", schedule, timeout_s=60.0)


MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        ("bug-E01", "rule-R8"),
        "nobody looks for repeats",
        "A command that was sent again, since its fate was unknown, is executed again.",
        "summitdb #5; hashicorp/raft #142; redisraft #52",
        (
            Patch(
                "core/streams.py",
                "        return min(next_serial - first_serial, count)\n",
                "        return 0\n",
            ),
        ),
        ("I7", "I11"),
        (seeds("plain", 300), seeds("clients", 300)),
    ),
    Mutant(
        ("bug-E03",),
        "a session that has ended creates ephemerals",
        "A create that is applied behind its session's end leaves an ephemeral that nobody will ever remove.",
        "ZOOKEEPER-1208",
        (
            Patch(
                "coordination/machine.py",
                "            return self._request(command, at, 0, ids, wanted)\n",
                "            return self._request(command, at, session_id, ids, wanted)\n",
            ),
            Patch(
                "coordination/machine.py",
                "        if owner > 0:\n            self.sessions[owner].ephemerals[path] = None\n",
                "        if owner in self.sessions:\n            self.sessions[owner].ephemerals[path] = None\n",
            ),
        ),
        ("I13",),
        (service("create-behind-close"),),
    ),
    Mutant(
        ("bug-E04",),
        "sessions of other gateways are not tracked",
        "A replica applies the begin of a session only where its own client waits for it.",
        "ZOOKEEPER-1367",
        (
            Patch(
                "coordination/machine.py",
                "            self._table.open(opened, timeout_ms, owner)\n",
                "            if wanted:\n                self._table.open(opened, timeout_ms, owner)\n",
            ),
        ),
        ("I7", "I11", "I12", "rule-R24"),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E06", "rule-R13", "rule-R24"),
        "a preempted leader's expiry is carried out",
        "A leader that was passed ends sessions to which its successor gave a full timeout.",
        "etcd #15247, #12528, fix #16822",
        (
            Patch(
                "coordination/machine.py",
                "        if reign != self.reign:\n            return self._answer(BAD_VERSION, wanted)\n"
                "        if session.owner != owner:\n",
                "        if session.owner != owner:\n",
            ),
        ),
        ("rule-R13", "rule-R24", "rule-R25"),
        (script("late-decision"),),
    ),
    Mutant(
        ("bug-E07", "rule-R24"),
        "a new leader goes on counting from the beginning",
        "A new leader takes sessions it has not heard of for silent since for ever, and ends them in its first round.",
        "atomix #35",
        (
            Patch(
                "service/clerk.py",
                "                touched[session] = now\n            elif (",
                "                touched[session] = 0\n            elif (",
            ),
        ),
        ("rule-R24", "rule-R25"),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E08",),
        "a replica ends sessions on its own clock",
        "The end of a session is carried out here and not through the ledger: replicas differ from then on.",
        "derived",
        (
            Patch(
                "service/service.py",
                "                    self._submit(encode_expire(session, owner, ballot))\n",
                "                    machine.apply(encode_expire(session, owner, ballot), machine.time_ms, False)\n",
            ),
        ),
        ("I7", "I9", "I11", "I12", "I13", "rule-R24"),
        (script("end-of-a-session"), seeds("clients", 300)),
    ),
    Mutant(
        ("bug-E10",),
        "watches set again tell of old changes",
        "A client that comes back is told of changes it has seen, because its last zxid is not looked at.",
        "etcd #15271, #20221",
        (
            Patch(
                "coordination/watches.py",
                "            elif node.mzxid > relative_zxid:\n",
                "            elif node.mzxid > 0:\n",
            ),
        ),
        ("I15",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E11",),
        "watches set again miss the first change",
        "A comparison that is off by one swallows the change right behind what the client has seen.",
        "etcd #17529, #18089, #19179",
        (
            Patch(
                "coordination/watches.py",
                "            elif node.mzxid > relative_zxid:\n",
                "            elif node.mzxid > relative_zxid + 1:\n",
            ),
        ),
        ("I15",),
        (service("missed-by-one"),),
    ),
    Mutant(
        ("bug-E11", "zk-4"),
        "an own change is not told to its watchers here",
        "Watchers hear of the changes of other gateways' clients only.",
        "etcd #17529, #18089, #19179",
        (
            Patch(
                "service/service.py",
                "            if changes and watches.count:\n"
                "                shared.fire()  # before the reply: a client hears of the change it watched, "
                "then that it made it\n",
                "            if changes and watches.count:\n",
            ),
        ),
        ("I15",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E13", "zk-4"),
        "the reply overtakes the events",
        "A client learns that its watches stand, or that its write is done, before the events that come before it.",
        "etcd #15220",
        (
            Patch(
                "service/connection.py",
                "        for kind, path in missed:\n"
                "            shared.events += 1\n"
                "            self.send_event(event_frame(-1, kind, path))\n"
                '        return ERR_OK, b""\n',
                '        self._missed = missed\n        return ERR_OK, b""\n',
            ),
            Patch(
                "service/connection.py",
                "            self._send(REPLY_HEAD.pack(16 + len(body), xid, machine.zxid, 0) + body)\n        else:\n",
                "            self._send(REPLY_HEAD.pack(16 + len(body), xid, machine.zxid, 0) + body)\n"
                "            if opcode in (OP_SET_WATCHES, OP_SET_WATCHES2):\n"
                "                for kind, path in self._missed:\n"
                "                    self.send_event(event_frame(-1, kind, path))\n"
                "        else:\n",
            ),
            Patch(
                "service/connection.py",
                '        "_prefix", "_shared", "_turn",',
                '        "_missed", "_prefix", "_shared", "_turn",',
            ),
        ),
        ("I15",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E13", "zk-4"),
        "watchers are told behind the reply",
        "Who made a change hears that it is done before the event of the watch it set on it.",
        "etcd #15220",
        (
            Patch(
                "service/service.py",
                "            if changes and watches.count:\n"
                "                shared.fire()  # before the reply: a client hears of the change it watched, "
                "then that it made it\n"
                "                if connection.id not in shared.connections:\n",
                "            if changes and watches.count:\n"
                "                if connection.id not in shared.connections:\n",
            ),
            Patch(
                "service/service.py",
                "                answered += 1\n                latency_ns = now - came_at\n",
                "                if changes and watches.count:\n"
                "                    shared.fire()\n"
                "                answered += 1\n                latency_ns = now - came_at\n",
            ),
        ),
        ("I15",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E15", "rule-R21"),
        "reads do not wait for the writes before them",
        "A read is answered before the write that was asked for first.",
        "ZOOKEEPER-1863",
        (
            Patch(
                "service/connection.py",
                "                if self._accepted == self.replied:\n                    if opcode == OP_GET_DATA:\n",
                "                if True:\n                    if opcode == OP_GET_DATA:\n",
            ),
        ),
        ("I12",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E16", "rule-R10"),
        "who waits is forgotten when the leader is lost",
        "Clients whose commands were under way hear neither a result nor that their connection closed.",
        "openraft 43dd8b6f",
        (
            Patch(
                "service/service.py",
                "        shared.leader = leader\n",
                "        if leader == 0 and shared.leader != 0:\n"
                "            for index in range(len(shared.pending)):\n"
                "                shared.pending[index] = _OURS\n"
                "        shared.leader = leader\n",
            ),
        ),
        ("I16",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E17", "rule-R14"),
        "a read enters the ledger",
        "A request that changes nothing is made a command, and takes a zxid wherever its client waits for it.",
        "ZOOKEEPER-2623",
        (
            Patch(
                "service/connection.py",
                "        OP_CREATE, OP_DELETE, OP_SET_DATA, OP_SET_ACL, OP_SYNC, OP_MULTI, OP_CREATE2, OP_RECONFIG, "
                "OP_CREATE_CONTAINER,\n",
                "        OP_CREATE, OP_DELETE, OP_SET_DATA, OP_SET_ACL, OP_SYNC, OP_MULTI, OP_CREATE2, OP_RECONFIG, "
                "OP_CREATE_CONTAINER,\n        OP_EXISTS,\n",
            ),
            Patch(
                "coordination/machine.py",
                "        return self._answer(UNIMPLEMENTED, wanted)  # reads",
                "        if opcode == 3:\n"
                "            err, stat = self.exists(str(read_buffer(command, at)[0], 'utf-8'), ids)\n"
                "            return Result(err, self._next_zxid(), stat) if wanted else SKIPPED\n"
                "        return self._answer(UNIMPLEMENTED, wanted)  # reads",
            ),
        ),
        ("I6", "I7", "I9", "I11", "I12"),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E19", "rule-R9", "rule-R20"),
        "a replica behind its client serves it",
        "A client that moves to a laggard reads what it has seen replaced: it is answered before its attach is applied.",
        "derived",
        (
            Patch(
                "service/connection.py",
                "        if not machine.has_secret or machine.zxid < self._last_zxid_seen:\n",
                "        if not machine.has_secret:\n",
            ),
            Patch(
                "service/connection.py",
                "        shared.pending.append((self, 0, 0, now))\n\n",
                "        shared.pending.append((self, 0, 0, now))\n"
                "        if self.session in shared.machine.sessions:\n"
                "            shared.owners[self.session] = self\n"
                "            shared.young.pop(self.id, None)\n"
                "            self.state = OPEN\n"
                "            self._identify(self.ids)\n"
                "            self._respond(self.timeout_ms, self.session, shared.machine.password(self.session))\n\n",
            ),
            Patch(
                "service/connection.py",
                "        shared = self._shared\n        if result.session == 0:\n",
                "        shared = self._shared\n"
                "        if self.state == OPEN:\n"
                "            return\n"
                "        if result.session == 0:\n",
            ),
        ),
        ("I12",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("bug-E20",),
        "only successes count as answered",
        "A command that was refused is asked again by the gateway, and gets another result.",
        "derived",
        (
            Patch(
                "service/service.py",
                "                body = result.body\n",
                "                if result.err != 0 and came_at > 0 and connection.requests_open() == 1:\n"
                "                    shared.out.commands.append(command)\n"
                "                    pending.append((connection, xid, cost, 0))\n"
                "                    continue\n"
                "                body = result.body\n",
            ),
        ),
        ("I11",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("rule-R9", "trap-T24"),
        "a command is compared by its session, not by its connection",
        "What an old connection still had under way is executed after the session moved on.",
        "rule-R9, scenario session-moves-late-write",
        (
            Patch(
                "coordination/machine.py",
                "        if session.owner != owner:\n"
                '            return Result(SESSION_MOVED, self.zxid, b"", is_moved=True) if wanted else SKIPPED\n'
                "        assert kind == CLOSE  # a request of the present owner was found by its header\n",
                "        if kind == REQUEST:\n"
                "            ids, at = decode_ids(command, HEADER_SIZE)\n"
                "            return self._request(command, at, session_id, ids, wanted)\n",
            ),
        ),
        ("I11", "I12", "rule-R9"),
        (service("session-moves-late-write"), seeds("clients", 300)),
    ),
    Mutant(
        ("rule-R9",),
        "an attach asks nothing of the owner it replaces",
        "A late attach for a dead connection throws the client out of the connection it was confirmed on.",
        "rule-R9, scenario double-attach",
        (
            Patch(
                "coordination/machine.py",
                "        if session.owner != replaces:\n"
                '            return Result(SESSION_MOVED, self.zxid, b"", is_moved=True) if wanted else SKIPPED\n',
                "        del replaces\n",
            ),
        ),
        ("rule-R9",),
        (service("double-attach"),),
    ),
    Mutant(
        ("rule-R10",),
        "a full cluster refuses what it has numbered",
        "The client hears 'not executed', and a leader executes it all the same.",
        "rule-R10, scenario all-full",
        (
            Patch(
                "service/connection.py",
                "            if opcode in GROWING_OPCODES:\n                return self._ready(xid, READY, ERR_THROTTLED)\n",
                "            if opcode in GROWING_OPCODES:\n"
                "                shared.out.commands.append(self._prefix + request[4:])\n"
                "                shared.pending.append((None, 0, 0, 0))\n"
                "                return self._ready(xid, READY, ERR_THROTTLED)\n",
            ),
        ),
        ("rule-R10",),
        (service("all-full"),),
    ),
    Mutant(
        ("rule-R17",),
        "an exception while checking leaves apply",
        "One malformed command stops every replica at the same slot, and again after each restart.",
        "rule-R17, scenario poison-command",
        (
            Patch(
                "coordination/machine.py",
                "            if self._is_changing:\n                raise\n"
                '            return Result(MARSHALLING_ERROR, self.zxid, b"") if wanted else SKIPPED\n',
                "            raise\n",
            ),
        ),
        ("rule-R17",),
        (service("poison-command"),),
    ),
    Mutant(
        ("rule-R21",),
        "reads run behind the decree",
        "A read between two pipelined writes sees the second one.",
        "rule-R21, scenario read-between-writes",
        (
            Patch(
                "service/service.py",
                "                if connection.queue:\n                    connection.run_queue()\n",
                "",
            ),
            Patch(
                "service/service.py",
                "        if answered:\n            shared.answered += answered\n            shared.latency_count",
                "        for waiting in list(shared.connections.values()):\n"
                "            if waiting.queue:\n"
                "                waiting.run_queue()\n"
                "        if answered:\n            shared.answered += answered\n            shared.latency_count",
            ),
        ),
        ("I12",),
        (seeds("clients", 300),),
    ),
    Mutant(
        ("rule-R24",),
        "a session is ended without a round",
        "A leader ends a session on what it has heard so far, without asking a quorum whether it still leads.",
        "rule-R24, scenario expiry-meets-attach",
        (
            Patch(
                "service/clerk.py",
                "            if self._confirmed < round_needed:\n                continue\n",
                "",
            ),
        ),
        ("rule-R24",),
        (service("expiry-needs-a-round"),),
    ),
    Mutant(
        ("rule-R24",),
        "the gateway of a session is not asked",
        "A leader ends a session whose gateway holds a touch that has not arrived yet.",
        "rule-R24",
        (
            Patch(
                "service/clerk.py",
                "            if self._reported.get(gateway, -1) < round_needed and "
                "not self._is_silent(gateway, held.timeout_ms, now):\n                continue\n",
                "",
            ),
        ),
        ("rule-R24",),
        (service("expiry-asks-the-gateway"),),
    ),
    Mutant(
        ("rule-R24",),
        "the end of a session names no owner",
        "A client attaches elsewhere while its end is under way, and is ended.",
        "rule-R24, scenario expiry-meets-attach",
        (
            Patch(
                "coordination/machine.py",
                "        if session.owner != owner:\n            return self._answer(SESSION_MOVED, wanted)\n"
                "        self._end(session)\n",
                "        self._end(session)\n",
            ),
        ),
        ("rule-R24",),
        (service("expiry-meets-attach"),),
    ),
    Mutant(
        ("rule-R24",),
        "a touch counts although the end is proposed",
        "A client is told that its session lives, and then its end is applied.",
        "rule-R24",
        (
            Patch(
                "service/clerk.py",
                "            if session in self._ending:\n                ending.append(session)\n                continue\n",
                "",
            ),
        ),
        ("rule-R24",),
        (service("touch-behind-the-end"),),
    ),
    Mutant(
        ("rule-R24", "rule-R38"),
        "sessions expire while the cluster is full",
        "Clients that cannot be served for lack of space lose their sessions and their locks besides.",
        "rule-R38",
        (
            Patch(
                "service/service.py",
                "            if not shared.is_full:\n                for session, owner",
                "            if machine.zxid >= 0:\n                for session, owner",
            ),
        ),
        ("rule-R38",),
        (service("full-cluster-expires-nobody"),),
    ),
    Mutant(
        ("rule-R24",),
        "a host that was suspended ends all its sessions",
        "A leader that stood still with everybody around it takes the time for its clients' silence.",
        "rule-R24",
        (
            Patch(
                "service/clerk.py",
                "                self._touched = {}\n                self._waiting = {}\n"
                "            self._round = round_sent\n",
                "                pass\n            self._round = round_sent\n",
            ),
        ),
        ("rule-R24",),
        (service("everybody-stood-still"),),
    ),
    Mutant(
        ("rule-R25", "rule-R26"),
        "a leader that was stopped acknowledges on old echoes",
        "It finds echoes in its sockets that are as old as its sleep, and vouches for sessions that another counts by now.",
        "rule-R25",
        (
            Patch(
                "service/clerk.py",
                "        self.is_quorum_connected = is_quorum_connected and confirmed >= self._trusted_from\n",
                "        self.is_quorum_connected = is_quorum_connected\n",
            ),
        ),
        ("rule-R25",),
        (service("stopped-leader-acknowledges"),),
    ),
    Mutant(
        ("rule-R25", "zk-27"),
        "pings are answered without the leader",
        "A gateway that lost the leader keeps its clients believing in sessions that the leader has ended.",
        "rule-R25, scenario cut-off-gateway",
        (
            Patch(
                "service/connection.py",
                "                shared.contact.hold_ping(self.id, self.session, xid)\n                self.pings += 1\n",
                "                self.pings += 1\n                self.answer_ping(xid)\n",
            ),
        ),
        ("rule-R25",),
        (seeds("cut-off gateway", 20),),
    ),
    Mutant(
        ("rule-R26",),
        "a cut-off gateway looks at its age by a timer only",
        "A process that was stopped wakes up and answers requests from the past before any timer runs.",
        "rule-R26, scenario cut-off-gateway",
        (
            Patch(
                "service/service.py",
                '        """A client sent something."""\n        if now > self._shared.answer_until:\n'
                "            self._close_cut_off(now)\n",
                '        """A client sent something."""\n',
            ),
            Patch(
                "service/service.py",
                "            self._disperse()\n        if now > shared.answer_until:\n            self._close_cut_off(now)\n",
                "            self._disperse()\n",
            ),
        ),
        ("rule-R26",),
        (service("stopped-gateway"),),
    ),
    Mutant(
        ("rule-R27",),
        "a password is not looked at",
        "Whoever knows a session's id takes it over.",
        "rule-R27",
        (
            Patch(
                "service/connection.py",
                "            if not compare_digest(machine.password(self.session), self._password):\n",
                "            if not compare_digest(self._password, self._password):\n",
            ),
        ),
        ("rule-R27",),
        (service("strange-password"),),
    ),
    Mutant(
        ("rule-R27",),
        "session ids are counted",
        "The id of a session that has ended is given to another client, and with it its password.",
        "rule-R27",
        (
            Patch(
                "coordination/machine.py",
                "            self._table.open(opened, timeout_ms, owner)\n",
                "            opened = max(self.sessions, default=0) + 1\n"
                "            self._table.open(opened, timeout_ms, owner)\n",
            ),
        ),
        ("rule-R27",),
        (service("ids-are-never-reissued"),),
    ),
)

WAITING: Final[tuple[Waiting, ...]] = (
    Waiting("bug-E02", "snapshots: they hold sessions and the serials of all streams"),
)
