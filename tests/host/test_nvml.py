"""Figures of GPUs: from NVML where there is one, and none at all, not zeros, where there is not.

NVML itself is stood in for at its outermost edge, the functions of NVIDIA's binding, for a machine with a GPU is rare.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from host import nvml
from host.metrics import _gpus, _Text
from monitoring.pull.known import KNOWN
from monitoring.pull.models import Exporter
from tests.host.artifacts import make_model
from tests.host.test_infer import Factory


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    nvml.started.cache_clear()
    yield
    nvml.started.cache_clear()


class Board:
    """Two GPUs as NVML tells of them; the second is a small one without ECC, power and XID errors."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.xids: list[tuple[int, int]] = []
        self.lost: set[int] = set()
        names = {
            "nvmlInit": lambda: None,
            "nvmlDeviceGetCount": lambda: 2,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetUUID": lambda gpu: f"GPU-{gpu}",
            "nvmlDeviceGetName": lambda gpu: ("NVIDIA H200", b"NVIDIA T4")[gpu],
            "nvmlDeviceGetMemoryInfo": lambda gpu: self.present(gpu, SimpleNamespace(total=100, used=30, free=70)),
            "nvmlDeviceGetUtilizationRates": lambda gpu: self.present(gpu, SimpleNamespace(gpu=25, memory=1)),
            "nvmlDeviceGetTemperature": lambda gpu, sensor: self.present(gpu, 41 + gpu),
            "nvmlDeviceGetPowerUsage": lambda gpu: self.only_first(gpu, 125_500),
            "nvmlDeviceGetTotalEccErrors": lambda gpu, kind, span: self.only_first(gpu, 3 if kind == 0 else 1),
            "nvmlEventSetCreate": lambda: "events",
            "nvmlDeviceRegisterEvents": lambda gpu, kinds, events: self.only_first(gpu, None),
            "nvmlEventSetWait_v2": lambda events, milliseconds: self.event(milliseconds),
        }
        for name, function in names.items():
            patch.setattr(pynvml, name, function)

    def present(self, gpu: int, value: object) -> object:
        if gpu in self.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return value

    def only_first(self, gpu: int, value: object) -> object:
        if gpu:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return self.present(gpu, value)

    def event(self, milliseconds: int) -> SimpleNamespace:
        assert milliseconds == 0
        if not self.xids:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        gpu, xid = self.xids.pop(0)
        return SimpleNamespace(device=gpu, eventData=xid)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    return Board(monkeypatch)


def told() -> list[str]:
    text = _Text()
    _gpus(text)
    return text.lines


def test_a_machine_without_nvidias_library_has_no_figures_of_gpus(host_process: Factory, tmp_path: Path) -> None:
    try:
        pynvml.nvmlInit()
        pytest.skip("this machine has an NVIDIA driver")
    except pynvml.NVMLError as error:
        assert isinstance(error, pynvml.NVMLError_LibraryNotFound)  # noqa: PT017 (what is raised here, not by a test)

    host = host_process()
    host.serve("1", make_model(tmp_path / "a", 1), 1)

    assert nvml.gpus() == []
    assert "lastgood_host_gpu" not in host.http.get("/metrics").text


def test_without_the_package_there_are_none_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert nvml.gpus() == []


def test_every_figure_of_a_gpu_is_told_and_none_that_it_does_not_have(board: Board) -> None:
    first, second = nvml.gpus()

    assert (first.index, first.uuid, first.name) == (0, "GPU-0", "NVIDIA H200")
    assert first.figures == {
        "utilisation_ratio": 0.25, "memory_used_bytes": 30, "memory_free_bytes": 70, "memory_total_bytes": 100,
        "temperature_celsius": 41, "power_watts": 125.5, "ecc_corrected_total": 3, "ecc_uncorrected_total": 1, "xid": 0,
    }  # fmt: skip
    assert set(first.figures) == set(nvml.FIGURES)
    assert (second.name, second.figures) == (
        "NVIDIA T4",
        {
            "utilisation_ratio": 0.25, "memory_used_bytes": 30, "memory_free_bytes": 70, "memory_total_bytes": 100,
            "temperature_celsius": 42,
        },
    )  # fmt: skip


def test_the_newest_xid_error_stays_until_the_next(board: Board) -> None:
    assert [gpu.figures.get("xid") for gpu in nvml.gpus()] == [0, None]
    board.xids = [(0, 31), (0, 79)]

    assert nvml.gpus()[0].figures["xid"] == 79
    assert nvml.gpus()[0].figures["xid"] == 79


def test_a_gpu_that_is_lost_keeps_its_last_xid_error_alone(board: Board) -> None:
    board.xids = [(0, 79)]
    nvml.gpus()
    board.lost.add(0)

    assert nvml.gpus()[0].figures == {"xid": 79}


def test_the_exposition_names_gpu_and_uuid_and_leaves_out_what_is_not_there(board: Board) -> None:
    lines = told()

    labels = 'gpu="0",gpu_uuid="GPU-0",name="NVIDIA H200"'
    assert "# TYPE lastgood_host_gpu_ecc_uncorrected_total counter" in lines
    assert f"lastgood_host_gpu_ecc_uncorrected_total{{{labels}}} 1.0" in lines
    assert f"lastgood_host_gpu_temperature_celsius{{{labels}}} 41.0" in lines
    assert 'lastgood_host_gpu_temperature_celsius{gpu="1",gpu_uuid="GPU-1",name="NVIDIA T4"} 42.0' in lines
    assert sum("power_watts{" in line for line in lines) == 1


def test_each_figure_has_its_name_where_hosts_are_scraped() -> None:
    known = KNOWN[Exporter.BUNDLED]
    assert {f"lastgood_host_gpu_{name}" for name in nvml.FIGURES} <= set(known)
    dcgm = {one.name: one.unit for one in KNOWN[Exporter.DCGM].values()}
    for name in nvml.FIGURES:
        one = known[f"lastgood_host_gpu_{name}"]
        assert dcgm.get(one.name, one.unit) == one.unit
