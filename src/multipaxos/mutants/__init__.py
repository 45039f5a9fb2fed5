"""The bug zoo: known bugs put into a copy of the code, and the proof that the checkers see each of them.

Knows nothing of how a checker works: it patches, runs, and reads which invariant was named.
"""
