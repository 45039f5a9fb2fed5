"""The running replica: one process per replica, and the local cluster of several.

``process.py`` starts one; ``driver.py`` is its loop (input, core, journal, send, apply, reply); ``gateway.py`` holds the
client sockets; ``journal_thread.py`` does the syncs; ``observer.py`` notes how it goes and ``admin.py`` tells it over HTTP;
``cluster.py`` runs several replicas on one machine; ``config.py`` reads their settings. Decides nothing about Paxos,
sessions or znodes: those stand in ``core``, ``service`` and ``coordination``. Start reading at ``driver.py``.
"""
