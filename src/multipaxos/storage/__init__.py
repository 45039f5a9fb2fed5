"""What a replica keeps: its journal, and the directory that says whose journal it is.

Knows the records of ``core/`` as values and nothing of the protocol, of peers or of clients. All file work goes through
the small interface of ``disk.py``, so that tests can lose, tear, rot and fail every write. Start reading at
``journal.py``; the directory stands in ``identity.py``.
"""
