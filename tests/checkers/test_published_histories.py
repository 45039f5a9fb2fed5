"""Histories of known verdict: 102 of etcd, recorded by Jepsen, and six of a key-value store (``tests/data/porcupine``)."""

import pytest
from published import Register, Store, Text, jepsen, kv, texts, verdicts

from multipaxos.sim.linearizability import ILLEGAL, LINEARIZABLE, UNKNOWN, Operation, check

ETCD = sorted(name for name in verdicts() if name.startswith("jepsen/"))
STORES = sorted(name for name in verdicts() if name.startswith("kv/"))


def test_the_histories_are_all_there() -> None:
    etcd = [verdicts()[name] for name in ETCD]
    assert (len(etcd), sum(etcd)) == (102, 23)
    assert [verdicts()[name] for name in STORES] == [False, True] * 3
    assert all(texts()[name] for name in (*ETCD, *STORES))


@pytest.mark.parametrize("name", ETCD)
def test_etcd(name: str) -> None:
    verdict = check(Register(), jepsen(name))
    assert verdict.verdict == (LINEARIZABLE if verdicts()[name] else ILLEGAL)


@pytest.mark.parametrize("name", STORES)
def test_key_value_store(name: str) -> None:
    """Key by key. In ``c50-bad`` some keys alone take more steps than are worth it; others show what is wrong."""
    parts: dict[str, list[Operation]] = {}
    for key, operation in kv(name):
        parts.setdefault(key, []).append(operation)
    assert max(len(part) for part in parts.values()) <= 5_000
    found: list[str] = []
    for steps_max in (20_000, 1_000_000):
        found = [check(Text(), parts[key], steps_max).verdict for key in sorted(parts)]
        if UNKNOWN not in found or ILLEGAL in found:
            break
    if verdicts()[name]:
        assert found == [LINEARIZABLE] * len(parts)
    else:
        assert ILLEGAL in found


@pytest.mark.parametrize("name", ["kv/c01-ok.txt", "kv/c01-bad.txt"])
def test_key_value_store_as_a_whole(name: str) -> None:
    operations = [operation._replace(input=(key, operation.input)) for key, operation in kv(name)]
    assert check(Store(), operations).verdict == (LINEARIZABLE if verdicts()[name] else ILLEGAL)
