"""What campaigns found: kept by the hash of the code it was found for, added up, and written as a page.

Knows nothing of how anything is found out: it keeps what the commands of ``multipaxos verify`` say with ``--json``.
"""
