"""`host:port,...` as people write it."""

import pytest

from multipaxos.client import DEFAULT_CONNECT, Client, address_text, parse_addresses


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("a:1,b:2", [("a", 1), ("b", 2)]),
        (" a:1 , a:1,", [("a", 1)]),
        ("host", [("host", 2181)]),
        ("[::1]:7,[fe80::1]", [("::1", 7), ("fe80::1", 2181)]),
        (DEFAULT_CONNECT, [("127.0.0.1", 2181), ("127.0.0.1", 2182), ("127.0.0.1", 2183)]),
    ],
)
def test_addresses(text: str, addresses: list[tuple[str, int]]) -> None:
    assert parse_addresses(text) == addresses


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no address"),
        (",,", "no address"),
        ("a:b", "not a port"),
        ("a:0", "not a port"),
        ("a:65536", "not a port"),
        ("a:٣", "not a port"),
        (":1", "names no host"),
        ("::1", r"\[::1\]"),
        ("[::1", r"\[::1\]"),
        ("[::1]7", r"\[::1\]"),
        ("a:1/app", "path"),
    ],
)
def test_what_is_no_address_is_explained(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_addresses(text)


def test_addresses_are_shown_as_they_are_written() -> None:
    for text in ("a:1", "[::1]:7"):
        assert address_text(parse_addresses(text)[0]) == text


def test_the_environment_says_where_the_cluster_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIPAXOS_CONNECT", "x:5")
    assert Client().addresses == [("x", 5)]
    monkeypatch.setenv("MULTIPAXOS_CONNECT", "")
    assert Client().addresses == parse_addresses(DEFAULT_CONNECT)
    with pytest.raises(ValueError, match="no address"):
        Client([])
