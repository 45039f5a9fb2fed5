"""A planned end: the leadership is handed over and what clients have asked is answered before their connections close.

    no new clients -> the leadership to the voter that knows most (rule-R30) -> no new requests -> answers -> the end

So a restart costs the cluster no election timeout, and a client that waits for nothing loses nothing but its connection. It
is a courtesy: whatever does not come in time is left, and safety never depends on it. A process that is killed skips it.

Waits in short steps on the loop, for conditions that the next turns bring; knows no sockets and no files.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from multipaxos.core.ballot import ReplicaId
from multipaxos.host.clock import boot_ns
from multipaxos.host.driver import Driver

HANDOVER_PATIENCE_S: Final = 1.5
"""A little more than the election timeout after which a leader takes its hand-over back (rule-R30)."""
ANSWERS_PATIENCE_S: Final = 1.0
STEP_S: Final = 0.002

log = logging.getLogger("multipaxos")


async def leave(driver: Driver) -> None:
    """Leave the cluster for a while: hand over, answer, then stop ``driver``. At the latest after 2.5 s."""
    driver.gateway.stop_listening()
    target = successor(driver)
    if target:
        log.info("hands the leadership over to replica %d", target)
        driver.hand_over(target)
        if not await _until(lambda: _is_settled(driver), HANDOVER_PATIENCE_S):
            log.warning("replica %d did not take over in %g s", target, HANDOVER_PATIENCE_S)
    driver.gateway.stop_reading()
    # What was read before goes through the next turns; without a leader it is not answered in any time one would wait.
    if not await _until(lambda: driver.open_requests() == 0, ANSWERS_PATIENCE_S if _is_led(driver) else 0.0):
        log.warning("%d requests of clients are left without an answer", driver.open_requests())
    driver.stop()


def successor(driver: Driver) -> ReplicaId:
    """Who shall lead in this replica's place: of the voters that are reached and lately spoke, the one that has applied most,
    then the one with the quickest disk. 0 where this replica does not lead, or nobody could."""
    replica = driver.replica
    leadership = replica.leadership
    if leadership is None or driver.peers is None or not replica.is_quorum_connected:
        return 0
    connected = driver.peers.connected()
    lately = leadership.number - 8
    found = [
        (-leadership.peer_applied.get(voter, 0), leadership.disk_ages.get(voter, 0), voter)
        for voter in replica.membership.newest().voters
        if voter != replica.id and voter in connected and leadership.echoed.get(voter, 0) >= lately
    ]
    return min(found)[2] if found else 0


def _is_settled(driver: Driver) -> bool:
    """Whether another leads, or there is nobody left who could."""
    replica = driver.replica
    if replica.is_leading:
        return successor(driver) == 0
    return replica.leader not in (0, replica.id)


def _is_led(driver: Driver) -> bool:
    age_ns = driver.service.contact_age_ns(boot_ns())
    return 0 <= age_ns <= driver.replica.settings.election_max_ns


async def _until(is_so: Callable[[], bool], patience_s: float) -> bool:
    """Whether it came to be so in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while not is_so():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(STEP_S)
    return True
