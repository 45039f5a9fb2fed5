"""The replicated state of the service: znodes, sessions, permissions, and the watches beside them. Pure (floor 1).

Start with ``machine.py``: ``Machine.apply`` executes one command of the ledger and says what came of it. ``commands.py``
holds the bytes of a command, ``plan.py`` the checks of each operation in their order, ``tree.py`` the znodes and how a
change shows in their Stat, ``acl.py`` permissions, ``sessions.py`` who owns a session, ``quota.py`` what stands below a
path, ``watches.py`` which connections are told of a change, ``codes.py`` and ``jute.py`` the numbers and primitives of
ZooKeeper's protocol that all of them share.

Nothing here knows of Paxos, of sockets or of time: a sibling of ``core/`` that imports nothing of it.
"""
