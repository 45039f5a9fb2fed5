"""multipaxos: Multi-Paxos as a service, a library and a lab."""

__all__ = ["__version__"]

__version__ = "0.1.0"
