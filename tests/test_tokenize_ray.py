"""A dataset made on a Ray cluster is the one that a process makes alone, whatever is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from commands import Cli, assert_refused, files_in, make, start

from acomp.datasets import clusters
from acomp.datasets.entries import Part
from acomp.datasets.making import Order, Step, tokenize
from acomp.datasets.parts import Tally
from acomp.datasets.sources.files import FilesUnit
from acomp.errors import AcompError
from acomp.settings import Coding


class Machines:
    """A Ray cluster on this machine: a head that makes nothing, and machines of one core."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        settings = {
            "worker_niceness": 0,  # 15 otherwise, which beside other work takes minutes
            # A machine that does not answer is soon taken for lost.
            "health_check_initial_delay_ms": 500,
            "health_check_period_ms": 300,
        }
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": settings}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self.cluster.address
        self.node: Any = None
        self.replace()

    def replace(self) -> None:
        """Lose the machine that makes parts, and have another one in its place."""
        if self.node is not None:
            self.cluster.remove_node(self.node, allow_graceful=False)
        with chdir("/"):  # where its processes begin; the folder of a test goes away
            self.node = self.cluster.add_node(num_cpus=1)


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    pytest.importorskip("ray")
    found = Machines()
    try:
        yield found
    finally:
        found.cluster.shutdown()


def test_what_a_killed_driver_and_a_lost_machine_leave_becomes_the_same_dataset(
    machines: Machines,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(16 * 5):
        make(tmp_path / "clips" / f"{number:02}.wav", 0.05)
    command = ("tokenize", "clips", "-b", "nano", "-k", "1.5", "-o", "x", "--ray", machines.address)
    run = start(tmp_path, *command)
    while not list((tmp_path / "x").glob("part-*")):
        assert run.poll() is None, run.communicate()
        time.sleep(0.01)
    run.kill()
    run.communicate()
    steps: list[Step] = []

    def lose(step: Step) -> None:
        steps.append(step)
        if [each.is_new for each in steps].count(True) == 1:
            machines.replace()

    monkeypatch.chdir(tmp_path)
    x, y = (Order(Path(name), ("clips",), "nano", coding=Coding(1.5)) for name in "xy")
    tokenize(x, ray=machines.address, tell=lose)
    assert 1 <= [each.is_new for each in steps].count(True) < 5
    assert capsys.readouterr().out == ""
    tokenize(y)
    assert files_in(tmp_path / "x") == files_in(tmp_path / "y")


def test_a_process_loads_the_codec_once_and_one_that_dies_costs_no_other_part(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "TRIES", 2)
    log = tmp_path / "log"

    def begin() -> Callable[[Part], Tally]:
        note("load")
        return work

    def work(part: Part) -> Tally:
        note(f"make {part.number}")
        if part.number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return Tally((part.number,), {}, 0, 0, 0)

    def note(what: str) -> None:
        with log.open("a") as file:
            file.write(f"{what}\n")

    parts = [Part(number, FilesUnit(())) for number in range(3)]
    found = [
        (part.number, outcome)
        for part, outcome in clusters.on_ray(parts, begin, machines.address, gpu=False)
    ]
    assert found[:2] == [(each, Tally((each,), {}, 0, 0, 0)) for each in range(2)]
    number, error = found[2]
    assert number == 2
    assert "lost while it made part-00002.parquet, 2 times" in str(error)
    assert log.read_text().splitlines() == [
        *("load", "make 0", "make 1", "make 2"),
        *("load", "make 2"),
    ]


def test_a_codec_that_cannot_be_loaded_ends_the_run_in_a_line(machines: Machines) -> None:
    def begin() -> Callable[[Part], Tally]:
        raise OSError(2, "gone", "weights.safetensors")

    with pytest.raises(AcompError, match=r"cannot use weights\.safetensors: there is no such file"):
        list(clusters.on_ray([Part(0, FilesUnit(()))], begin, machines.address, gpu=False))


def test_without_ray_or_a_cluster_a_line_says_so(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.2)
    run = cli("tokenize", "a.wav", "-o", "x", "-b", "nano", "--ray", "127.0.0.1:1")
    assert_refused(run)
    assert "no Ray cluster at 127.0.0.1:1" in run.err or "acomp[ray]" in run.err
