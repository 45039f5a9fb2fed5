"""Bytes to values and back, without I/O: frames, messages between replicas, the handshake, ZooKeeper's client protocol.

Knows nothing of who sends them or when. Start with ``frame.py`` for what goes between replicas, ``zookeeper.py`` for clients.
"""
