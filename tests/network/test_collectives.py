"""Collectives: what every algorithm owes, and the measurements that the figures were taken from."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import plugins
from sim.errors import ScenarioError
from sim.network.collectives import Custom, Group, Line, Tuning, default_collectives
from sim.network.group import OPERATIONS
from sim.network.topology import load_topology

FOLDER = "sim.network.collectives"
algorithms = pytest.mark.parametrize("name", plugins.names(FOLDER))

ALL = Tuning(
    ring=(Line(efficiency=0.5, launch_s=1e-6), Line(efficiency=0.9, launch_s=5e-6)),
    direct=(Line(efficiency=0.8, step_s=1e-6),),
    one_shot=(Line(efficiency=0.6, step_s=1e-7),),
    two_shot=(Line(efficiency=0.7, launch_s=2e-6, copy_ratio=3.0),),
    in_switch=(Line(efficiency=0.6, launch_s=3e-6),),
    scale_out=(Line(efficiency=0.9),),
)


def group(size: int, domains: int = 1, per_domain: int | None = None) -> Group:
    return Group(
        size=size,
        domains=domains,
        per_domain=per_domain or size // domains,
        scale_up_bytes_per_s=450e9,
        scale_out_bytes_per_s=50e9,
        scale_up_latency_s=0.5e-6,
        scale_out_latency_s=2.7e-6,
        tuning=ALL,
    )


GROUPS = [group(2), group(8), group(72), group(16, 2), group(4, 4), group(12, 2, 8), group(9, 2, 8)]


@algorithms
@pytest.mark.parametrize("among", GROUPS, ids=lambda g: f"{g.size}/{g.domains}")
def test_floats_and_arrays_give_equal_bits(name: str, among: Group) -> None:
    algorithm = plugins.load(FOLDER, name)()
    sizes = [0.0, 1.0, 4096.0, 1e5 / 3, 1e6 / 7, 7e8]
    for operation in OPERATIONS:
        if algorithm.fits(operation, among):
            many = algorithm.seconds(operation, among, np.array(sizes))
            assert [algorithm.seconds(operation, among, b) for b in sizes] == many.tolist()


@algorithms
@pytest.mark.parametrize("among", GROUPS, ids=lambda g: f"{g.size}/{g.domains}")
@given(sizes=st.tuples(st.floats(0, 1e10), st.floats(0, 1e10)))
def test_more_bytes_never_take_less_time(
    name: str, among: Group, sizes: tuple[float, float]
) -> None:
    algorithm = plugins.load(FOLDER, name)()
    small, large = sorted(sizes)
    for operation in OPERATIONS:
        if algorithm.fits(operation, among):
            at_small = algorithm.seconds(operation, among, small)
            assert 0.0 < at_small <= algorithm.seconds(operation, among, large)


@algorithms
def test_a_machine_without_the_lines_does_not_have_the_algorithm(name: str) -> None:
    bare = Tuning(ring=(), direct=(), one_shot=(), in_switch=(), scale_out=())
    algorithm = plugins.load(FOLDER, name)()
    for among in GROUPS:
        without = Group(
            among.size, among.domains, among.per_domain, 1.0, 1.0, 0.0, 0.0, tuning=bare
        )
        assert not any(algorithm.fits(operation, without) for operation in OPERATIONS)


@pytest.mark.parametrize("among", GROUPS, ids=lambda g: f"{g.size}/{g.domains}")
def test_every_operation_can_be_priced_for_every_group(among: Group) -> None:
    priced = default_collectives(among)
    for seconds in (
        priced.all_reduce_s,
        priced.all_gather_s,
        priced.reduce_scatter_s,
        priced.all_to_all_s,
        priced.send_s,
    ):
        assert 0.0 < seconds(1e6) < 1.0
        assert seconds(np.array([1e6])).tolist() == [seconds(1e6)]


def test_a_group_of_one_costs_nothing() -> None:
    alone = default_collectives(group(1))
    assert alone.all_reduce_s(1e9) == 0.0
    assert alone.all_to_all_s(np.array([1.0, 2.0])).tolist() == [0.0, 0.0]


def test_the_quickest_algorithm_is_taken() -> None:
    """One-shot for small messages, the switch or the ring for large ones."""
    priced = default_collectives(group(8))
    one_shot, ring = plugins.load(FOLDER, "one_shot")(), plugins.load(FOLDER, "ring")()
    small = one_shot.seconds("all_reduce", group(8), 1024.0)
    assert priced.all_reduce_s(1024.0) == small < ring.seconds("all_reduce", group(8), 1024.0)
    assert priced.all_reduce_s(1e9) < one_shot.seconds("all_reduce", group(8), 1e9)


@pytest.mark.parametrize(
    ("machine", "size", "nbytes", "bus_gb_per_s"),
    [
        ("dgx_h100", 8, 512e6, 445),
        ("dgx_h100", 8, 32e6, 294),
        ("dgx_h100", 2, 512e6, 318),
        ("hgx_h200", 8, 512e6, 460),
        ("hgx_b200", 8, 512e6, 704),
        ("hgx_b200", 8, 32e6, 350),
        ("hgx_b200", 2, 512e6, 534),
        ("dgx_a100", 8, 512e6, 222),
        ("dgx_a100", 8, 32e6, 160),
        ("gb200_nvl72", 4, 512e6, 628),
    ],
)
def test_large_all_reduces_are_as_measured(
    machine: str, size: int, nbytes: float, bus_gb_per_s: float
) -> None:
    """Bus bandwidth = 2(n−1)/n · bytes ÷ seconds; NCCL, AIConfigurator's kernel tables."""
    priced = default_collectives(load_topology(machine).group(range(size)))
    bus = 2 * (size - 1) / size * nbytes / priced.all_reduce_s(nbytes) / 1e9
    assert bus == pytest.approx(bus_gb_per_s, rel=0.15)


@pytest.mark.parametrize(
    ("machine", "size", "nbytes", "microseconds"),
    [
        ("dgx_h100", 8, 256, 3.2),
        ("dgx_h100", 8, 32768, 3.8),
        ("dgx_h100", 8, 131072, 6.2),
        ("dgx_h100", 8, 524288, 17.6),
        ("hgx_b200", 8, 256, 5.0),
        ("hgx_b200", 8, 524288, 10.9),
        ("dgx_a100", 8, 256, 4.4),
        ("dgx_a100", 8, 524288, 28.3),
        ("gb200_nvl72", 4, 256, 4.6),
        ("gb200_nvl72", 4, 524288, 7.0),
    ],
)
def test_small_all_reduces_are_as_measured(
    machine: str, size: int, nbytes: float, microseconds: float
) -> None:
    """TensorRT-LLM's custom all-reduce, AIConfigurator's kernel tables."""
    priced = default_collectives(load_topology(machine).group(range(size)))
    assert priced.all_reduce_s(float(nbytes)) == pytest.approx(microseconds * 1e-6, rel=0.15)


@pytest.mark.parametrize(
    ("machine", "size", "microseconds"),
    [
        ("dgx_h100", 2, 6.3),
        ("dgx_h100", 8, 15.7),
        ("hgx_b200", 2, 10.3),
        ("hgx_b200", 8, 25.6),
        ("dgx_a100", 8, 21.5),
        ("gb200_nvl72", 4, 16.0),
    ],
)
def test_the_rings_latency_is_as_measured(machine: str, size: int, microseconds: float) -> None:
    among = load_topology(machine).group(range(size))
    seconds = plugins.load(FOLDER, "ring")().seconds("all_reduce", among, 4096.0)
    assert seconds == pytest.approx(microseconds * 1e-6, rel=0.05)


@pytest.mark.parametrize(
    ("operation", "nbytes", "microseconds"),
    [
        ("all_reduce", 4096, 16.0),
        ("all_gather", 4096, 11.9),
        ("all_to_all", 4096, 10.8),
        ("all_reduce", 512e6, 1223),
        ("all_gather", 512e6, 681),
        ("all_to_all", 512e6, 787),
    ],
)
def test_four_gpus_of_a_rack_are_as_measured(
    operation: str, nbytes: float, microseconds: float
) -> None:
    """NCCL within a GB200 tray, AIConfigurator's kernel tables, whose lines were fitted to 2 and 8
    GPUs of B200: 628, 564 and 488 GB/s of bus bandwidth at 512 MB."""
    priced = default_collectives(load_topology("gb200_nvl72").group(range(4)), "none")
    if operation == "all_to_all":
        seconds = priced.all_to_all_s(nbytes * 3 / 4)
    else:
        price = priced.all_reduce_s if operation == "all_reduce" else priced.all_gather_s
        seconds = price(nbytes)
    assert seconds * 1e6 == pytest.approx(microseconds, rel=0.1)


LINE = (Line(efficiency=0.5, launch_s=1e-6),)
SLOW = (Line(efficiency=0.1, launch_s=9e-6),)
ENGINES = Tuning(
    ring=SLOW,
    custom=(
        Custom(engine="first", one_shot=LINE, max_bytes=2.0**20),
        Custom(engine="second", two_shot=LINE, max_bytes=2.0**22),
    ),
)


def engines_group(tuning: Tuning = ENGINES) -> Group:
    return Group(8, 1, 8, 450e9, 0.0, 0.5e-6, 0.0, tuning)


def test_the_engine_that_is_named_brings_its_own_all_reduce() -> None:
    among = engines_group()
    nccl = default_collectives(among, "none").all_reduce_s(4096.0)
    first = default_collectives(among, "first").all_reduce_s(4096.0)
    second = default_collectives(among, "second").all_reduce_s(4096.0)
    assert first < second < nccl
    assert default_collectives(among).all_reduce_s(4096.0) == first


def test_beyond_its_largest_message_an_engine_calls_nccl() -> None:
    among = engines_group()
    nbytes = np.array([2.0**20, 2.0**20 + 1, 2.0**22, 2.0**22 + 1])
    nccl = default_collectives(among, "none").all_reduce_s(nbytes)
    quicker = {
        engine: (default_collectives(among, engine).all_reduce_s(nbytes) < nccl).tolist()
        for engine in ("first", "second")
    }
    assert quicker == {"first": [True, False, False, False], "second": [True, True, True, False]}


def test_an_engine_changes_no_other_collective() -> None:
    among = engines_group()
    one, other = default_collectives(among, "first"), default_collectives(among, "none")
    assert one.all_gather_s(1e6) == other.all_gather_s(1e6)
    assert one.all_to_all_s(1e6) == other.all_to_all_s(1e6)


def test_an_engine_without_figures_is_refused_with_those_that_have() -> None:
    with pytest.raises(ScenarioError, match=r"'third'.*none, first, second"):
        default_collectives(engines_group(), "third")


def test_a_topology_may_name_its_shots_without_an_engine() -> None:
    among = engines_group(Tuning(ring=SLOW, one_shot=LINE))
    with_shots, without = default_collectives(among), default_collectives(among, "none")
    assert with_shots.all_reduce_s(4096.0) < without.all_reduce_s(4096.0)


def test_two_devices_have_nothing_to_gain_from_the_switch() -> None:
    switch = plugins.load(FOLDER, "in_switch")()
    assert switch.fits("all_reduce", group(3))
    assert not switch.fits("all_reduce", group(2))


def test_collectives_and_topologies_know_nothing_of_simulated_time() -> None:
    code = (
        "import sys, sim.network.topology, sim.network.collectives as c; "
        "from sim.network.topology import load_topology; "
        "c.default_collectives(load_topology('single_gpu').group([0])); "
        "sys.exit('simpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
