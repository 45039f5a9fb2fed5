"""Real processes under faults: a cluster as users run it, clients that record what they saw, and nemeses with an effect.

Knows nothing of the inside of a replica: it starts processes, breaks their surroundings, and judges the history.
"""
