"""Is one host slower than the rest?"""

import numpy as np
import pytest
from scipy.signal import lfilter

from monitoring.judging.hosts import Timed, slow_hosts

SPAN = np.linspace(0, 600, 600)


def fleet(rng: np.random.Generator, hosts: int = 3, phi: float = 0.0, spread: float = 0.5) -> dict[str, Timed]:
    """Latencies about 3 ms, lognormal, each host's level wandering by `phi` from answer to answer."""
    steps = rng.normal(0, spread * np.sqrt(1 - phi**2), (hosts, len(SPAN)))
    logs = lfilter([1.0], [1.0, -phi], steps, axis=1) + rng.normal(0, 0.3, steps.shape)
    return {f"h{at}": Timed(SPAN, 3 * np.exp(one)) for at, one in enumerate(logs)}


def with_spell(timed: Timed, share: float, times: float) -> Timed:
    """So many times slower in the first `share` of the time."""
    return Timed(timed.at, np.where(SPAN / SPAN[-1] < share, times, 1.0) * np.asarray(timed.ms))


@pytest.mark.parametrize("phi", [0.0, 0.9, 0.99])
def test_sound_hosts_on_a_crowded_machine_are_called_slow_in_at_most_one_of_a_hundred_fleets(phi: float) -> None:
    rng = np.random.default_rng(3)
    found = sum(bool(slow_hosts(fleet(rng, phi=phi, spread=0.9))) for _ in range(200))
    assert found <= 2


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_a_host_of_five_times_the_others_latency_is_found(phi: float) -> None:
    rng = np.random.default_rng(4)
    found = []
    for _ in range(40):
        hosts = fleet(rng, phi=phi)
        found.append(slow_hosts(hosts | {"h2": with_spell(hosts["h2"], 2.0, 5.0)}))
    assert sum([one.host for one in slow] == ["h2"] for slow in found) >= 36
    [slow] = found[0]
    assert (slow.slow, slow.windows) == (24, 24)
    assert 1 < slow.spread < 2 < slow.ratio
    assert slow.p < 0.017


def test_a_slow_spell_of_half_of_the_time_makes_no_host_slow() -> None:
    hosts = fleet(np.random.default_rng(5))
    assert slow_hosts(hosts | {"h2": with_spell(hosts["h2"], 0.5, 20.0)}) == []


def test_what_slows_all_hosts_at_once_makes_none_slow() -> None:
    hosts = fleet(np.random.default_rng(6))
    assert slow_hosts({name: with_spell(one, 0.8, 30.0) for name, one in hosts.items()}) == []


def test_a_share_that_is_a_fraction_of_a_millisecond_does_not_matter() -> None:
    hosts = {name: Timed(SPAN, np.asarray(one.ms) / 10) for name, one in fleet(np.random.default_rng(7)).items()}
    assert slow_hosts(hosts | {"h2": with_spell(hosts["h2"], 2.0, 5.0)}) == []


def test_two_slow_hosts_of_five_are_both_found_beside_each_other() -> None:
    hosts = fleet(np.random.default_rng(8), hosts=5)
    slow = {name: with_spell(hosts[name], 2.0, 6.0) for name in ("h1", "h3")}
    assert {one.host for one in slow_hosts(hosts | slow)} == {"h1", "h3"}


def test_few_answers_or_a_single_host_accuse_nobody() -> None:
    rng = np.random.default_rng(9)
    few = {"h0": Timed(SPAN, rng.gamma(9, 0.1, 600)), "h1": Timed(SPAN[:30], rng.gamma(9, 5, 30))}
    assert slow_hosts(few) == []
    assert slow_hosts({"h0": few["h0"]}) == []
    assert slow_hosts({}) == []


def test_a_latency_without_its_time_is_refused() -> None:
    with pytest.raises(ValueError, match="needs its time"):
        slow_hosts({"h0": Timed(SPAN, SPAN[:5])})
