"""Gateways are replaced, added and taken away under load, by the signals, probes and grace periods of a cluster."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.fleet.balancer import Balancer, Target, balancer
from tests.fleet.traffic import Traffic
from tests.support import ports, servers
from tests.support.system import Service, System, system

# METRION_STOP_DELAY, in which the balancer notices even on a busy machine that stalls for seconds; METRION_STOP_SECONDS
DELAY, GRACE = "8", "60"


class Fleet:
    """Gateways as pods: each with a name, ports and an outbox of its own, which go with it."""

    def __init__(self, metrion: System, doors: Balancer, folder: Path) -> None:
        self._metrion, self._doors, self._folder = metrion, doors, folder
        self.running: list[tuple[Service, Target]] = []
        self._made = 0

    def add(self) -> None:
        """Start one more, and wait until the balancer sends it connections."""
        self._made += 1
        name, port, ops_port = f"pod-{self._made}", ports.free_port(), ports.free_port()
        told = self._metrion.gateway.environment | {
            "METRION_GATEWAY_PORT": str(port),
            "METRION_GATEWAY_OPS_PORT": str(ops_port),
            "METRION_GATEWAY_DIR": str(self._folder / name),
            "METRION_GATEWAY_NAME": name,
            "METRION_STOP_DELAY": DELAY,
            "METRION_STOP_SECONDS": GRACE,
        }
        pod, target = Service("gateway", ops_port, told, self._folder / f"{name}.log"), Target(port, ops_port)
        pod.start()
        self._doors.targets.add(target)
        servers.wait_for(lambda: target in self._doors.ready, f"{name} at the balancer")
        self.running.append((pod, target))

    def remove(self) -> Service:
        """Take the oldest away as a cluster does: SIGTERM, and it is no target as soon as it is not ready."""
        pod, target = self.running.pop(0)
        assert pod.process
        pod.process.send_signal(signal.SIGTERM)
        servers.wait_for(lambda: target not in self._doors.ready, "the balancer to notice")
        assert pod.process.poll() is None, "it ended before the balancer could have noticed"
        assert pod.process.wait(servers.DEADLINE) == 0
        self._doors.targets.discard(target)
        return pod


@contextlib.contextmanager
def fleet(folder: Path, size: int) -> Iterator[tuple[System, Fleet, Balancer]]:
    with system(folder) as metrion, balancer() as doors:
        found = Fleet(metrion, doors, folder)
        try:
            for _ in range(size):
                found.add()
            yield metrion, found, doors
        finally:
            for pod, _ in found.running:
                pod.kill(signal.SIGTERM)


def booked_once(metrion: System, traffic: Traffic) -> None:
    """Every answer is a whole row, and there is none besides."""
    answered = {*traffic.short, *traffic.long}
    metrion.wait_for_rows(len(answered), "outcome = 'complete'")  # before it is, one may be interrupted
    rows = metrion.rows()
    assert {row["id"] for row in rows} == answered
    assert {row["outcome"] for row in rows} == {"complete"}
    assert metrion.clickhouse.query("SELECT count() FROM metrion.requests").strip() == str(len(answered))
    assert metrion.clickhouse.query("SELECT sum(dropped) FROM metrion.gateways").strip() == "0"


def test_replacing_adding_and_removing_gateways_fails_no_request_cuts_no_stream_and_loses_no_event(
    tmp_path: Path,
) -> None:
    with fleet(tmp_path, 2) as (metrion, pods, doors):

        async def roll_then_scale() -> Traffic:
            traffic = Traffic(doors.url)
            async with traffic.flowing():
                await traffic.more()
                for _ in range(2):
                    await asyncio.to_thread(pods.add)
                    await traffic.more()
                    gone = await asyncio.to_thread(pods.remove)
                    assert "cut " not in gone.log.read_text()
                for _ in range(2):
                    await asyncio.to_thread(pods.add)
                await traffic.more()
                await asyncio.to_thread(pods.remove)  # whose connections go to the two new ones, too
                await asyncio.gather(*(asyncio.to_thread(pods.remove) for _ in range(2)))
                await traffic.more()
            return traffic

        traffic = asyncio.run(roll_then_scale())
        assert not traffic.failed, traffic.failed[:5]
        assert traffic.told_to_leave, "no answer ended its connection: clients were not sent elsewhere"
        assert not doors.turned_away
        booked_once(metrion, traffic)
        served = metrion.clickhouse.query("SELECT uniq(gateway) FROM metrion.requests").strip()
        assert int(served) == 6, "a gateway that was added served nothing"


def test_logger_and_cache_are_replaced_under_load_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    with fleet(tmp_path, 2) as (metrion, _, doors):
        second = Service("logger", ports.free_port(), metrion.logger.environment, tmp_path / "logger-2.log")
        second.environment = second.environment | {"METRION_LOGGER_OPS_PORT": str(second.ops_port)}

        async def replace() -> Traffic:
            traffic = Traffic(doors.url)
            async with traffic.flowing(long=2):
                await traffic.more()
                await asyncio.to_thread(second.start)  # two of them share the work
                await traffic.more(long=1)
                await asyncio.to_thread(metrion.logger.kill, signal.SIGTERM)
                await traffic.more(long=1)
                await asyncio.to_thread(metrion.cache.kill, signal.SIGTERM)
                await traffic.more(long=1)
                await asyncio.to_thread(metrion.cache.start)
                await asyncio.to_thread(metrion.logger.start)
            return traffic

        traffic = asyncio.run(replace())
        assert not traffic.failed, traffic.failed[:5]
        booked_once(metrion, traffic)
        second.kill(signal.SIGTERM)
