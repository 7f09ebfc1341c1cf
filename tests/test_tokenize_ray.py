"""A dataset made on a Ray cluster that loses a machine is the same as one made by one process."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from commands import Cli, assert_refused, files_in, make

from acomp.datasets.making import Order, tokenize
from acomp.settings import Coding


def test_a_cluster_of_two_machines_that_loses_one_makes_the_same_dataset(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    (tmp_path / "clips").mkdir()
    for number in range(40):
        make(tmp_path / "clips" / f"{number:02}.wav", 0.2)
    sources = (str(tmp_path / "clips"),)
    tokenize(Order(tmp_path / "one", sources, "nano", coding=Coding(1.5)))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        # A daemon: where nothing ever begins, the test fails and does not wait for it.
        killer = Thread(
            target=remove_when_begun, args=(cluster, lost, tmp_path / "ray"), daemon=True
        )
        killer.start()
        order = Order(tmp_path / "ray", sources, "nano", coding=Coding(1.5))
        tokenize(order, ray=cluster.address)
        killer.join()
    finally:
        cluster.shutdown()
    assert files_in(tmp_path / "one") == files_in(tmp_path / "ray")


def remove_when_begun(cluster: Any, node: Any, folder: Path) -> None:
    while not list(folder.glob(".*.acomp.part")) and not list(folder.glob("part-*")):
        time.sleep(0.01)
    cluster.remove_node(node, allow_graceful=False)


def test_without_ray_or_a_cluster_a_line_says_so(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.2)
    run = cli("tokenize", "a.wav", "-o", "x", "-b", "nano", "--ray", "127.0.0.1:1")
    assert_refused(run)
    assert "no Ray cluster at 127.0.0.1:1" in run.err or "acomp[ray]" in run.err
