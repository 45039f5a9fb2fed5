"""Bounded exhaustive search: every schedule of a small world, the published models first, then the core that serves.

Knows nothing of chance and of real time: what may happen next is a list, and all of it is tried.
"""
