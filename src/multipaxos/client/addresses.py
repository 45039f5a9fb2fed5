"""Where a cluster is: `host:port,host:port,...` as people write it, and back.

Knows nothing of connections; `client.py` and the shell commands use it.
"""

from typing import Final

DEFAULT_PORT: Final = 2181
ADMIN_PORT: Final = 8181
DEFAULT_CONNECT: Final = "127.0.0.1:2181,127.0.0.1:2182,127.0.0.1:2183"
REFUSED: Final = "connection refused: nothing listens there"
CONNECT_VARIABLE: Final = "MULTIPAXOS_CONNECT"

Address = tuple[str, int]


def parse_addresses(text: str, default_port: int = DEFAULT_PORT) -> list[Address]:
    """The addresses in ``text``; a port left out is ``default_port``, an IPv6 host stands in brackets. ValueError says
    what is wrong.
    """
    addresses: list[Address] = []
    for part in text.split(","):
        piece = part.strip()
        if not piece:
            continue
        if "/" in piece:
            raise ValueError(f"{piece!r} holds a path; write host:port only and give whole paths to the commands")
        if piece.startswith("["):
            host, bracket, rest = piece[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")):
                raise ValueError(f"{piece!r} is not an address; write an IPv6 address as [::1]:2181")
            port_text = rest[1:]
        elif piece.count(":") > 1:
            raise ValueError(f"{piece!r} is not an address; write an IPv6 address as [::1]:2181")
        else:
            host, _, port_text = piece.partition(":")
        if not host:
            raise ValueError(f"{piece!r} names no host; write host:port, for example {DEFAULT_CONNECT.split(',')[0]}")
        if port_text and not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65536):
            raise ValueError(f"{port_text!r} in {piece!r} is not a port; it is a number from 1 to 65535")
        address = (host, int(port_text) if port_text else default_port)
        if address not in addresses:
            addresses.append(address)
    if not addresses:
        raise ValueError(f"there is no address in {text!r}; write host:port,host:port,... like {DEFAULT_CONNECT}")
    return addresses


def failure_text(error: OSError) -> str:
    """Why an address could not be reached, in the system's own words where it has some."""
    if isinstance(error, ConnectionRefusedError):
        return REFUSED
    return (error.strerror or str(error)).lower()


def address_text(address: Address) -> str:
    """One address as people write it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
