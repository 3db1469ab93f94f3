"""Gateways that share a folder, as the replicas of a volume do: each has an outbox of its own, and none is forgotten."""

from pathlib import Path

import pytest

from services.gateway.outbox import instances
from services.gateway.outbox.orphans import adopt
from services.gateway.outbox.spool import SpoolLocked
from services.gateway.settings import Settings


def settings(folder: Path, instance: int) -> Settings:
    return Settings(nats_url="nats://127.0.0.1", gateway_dir=folder, gateway_name="g", instance=instance)


def test_replicas_on_one_volume_take_an_outbox_each_and_a_new_one_moves_in_where_one_left(tmp_path: Path) -> None:
    first, outbox = instances.claim(settings(tmp_path, -1))
    second, other = instances.claim(settings(tmp_path, -1))
    assert [(found.gateway_name, found.instance) for found in (first, second)] == [("g-0", 0), ("g-1", 1)]
    outbox.close()
    third, again = instances.claim(settings(tmp_path, -1))
    assert (third.gateway_name, again.folder) == ("g-0", outbox.folder)
    assert again.epoch == outbox.epoch + 1
    again.close()
    other.close()


def test_events_of_a_removed_replica_are_shipped_after_scaling_down(tmp_path: Path) -> None:
    _, outbox = instances.claim(settings(tmp_path, -1))
    _, left = instances.claim(settings(tmp_path, -1))
    left.append(left.beat())
    left.close()
    [orphan] = adopt(outbox.folder.parent, own=0, workers=0)
    assert (orphan.folder, orphan.pending_bytes > 0) == (left.folder, True)
    orphan.close()
    outbox.close()


def test_gateway_with_a_fixed_instance_number_takes_no_other(tmp_path: Path) -> None:
    _, outbox = instances.claim(settings(tmp_path, 1))
    with pytest.raises(SpoolLocked):
        instances.claim(settings(tmp_path, 1))
    outbox.close()
