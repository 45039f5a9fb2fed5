"""How messages travel between replicas: TCP connections, who is there, and bounds on what waits.

Knows the bytes of ``wire/`` and nothing of Paxos or of clients. Everything stands in ``tcp.py``.
"""
