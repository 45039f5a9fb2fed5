"""Basic Paxos by hand: the article's own system, one decision at a time, pure.

``proposer.py`` is a run from its question to the chosen value: read it first. ``acceptor.py`` puts many names over the
core's acceptor, ``learner.py`` finds out what was chosen, ``messages.py`` is what they say and its bytes, ``words.py``
every sentence people are shown. Sockets, disks and time are in ``host/synod*.py``; the tutorial is ``docs/by-hand.md``.
"""
