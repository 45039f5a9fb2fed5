"""The world without a world: the shipped core and service under virtual time, one seed, lossy links and forgetful disks.

Knows nothing of sockets, files or the running replica (``host/``). Start with ``world.py``; what must hold is in
``checkers.py`` and ``history.py``.
"""
