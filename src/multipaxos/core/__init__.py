"""The protocol: Multi-Paxos without I/O, clock, randomness or logging.

Knows nothing of sockets, files, ZooKeeper or what a command means. Start reading at ``replica.py``.
"""
