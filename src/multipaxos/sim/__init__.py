"""The world without a world: the shipped core, service and journal under virtual time, one seed, lossy links and disks that
tear, rot, fill up, fail and hang.

Knows nothing of sockets, files or the running replica (``host/``). Start with ``world.py``; what must hold is in
``checkers.py`` and ``history.py``.
"""
