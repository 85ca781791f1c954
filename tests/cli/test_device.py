"""The option `--device`: accepted names, errors, workers, and the device in messages and records."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
import torch._dynamo  # before the functions that it reads are replaced
from typer.main import get_command
from typer.testing import CliRunner, Result

from cli.test_commands import settings
from taichinet.cli import app as command_line
from taichinet.cli.compare import _make_executor
from taichinet.datasets.phantoms.folder import write_phantom_busi
from taichinet.errors import DataError, SettingError
from taichinet.experiments.grid import ray_cluster, work
from taichinet.experiments.grid.cells import Transfer
from taichinet.experiments.grid.work import TaskResult, run_task
from taichinet.experiments.provenance import describe_machine
from taichinet.inference.outputs import TABLE
from taichinet.inference.rows import Provenance
from taichinet.inference.runtimes.choose import device_of_runtime
from taichinet.reports.figures.source import provenance
from taichinet.training import device_choice
from taichinet.training.device import choose_device_config, chosen_device, use_device
from taichinet.training.device_choice import AUTO_DEVICE
from taichinet.training.distributed.ranks import process_group
from taichinet.training.easy_hard import _read_from_cache

COMPUTING: dict[str, tuple[str, ...]] = {
    "demo": ("-o", "absent"),
    "train": ("cpu-unet", "--data", "absent"),
    "compare": ("table1", "--data", "absent"),
    "cost": ("table1", "--data", "absent"),
    "evaluate": ("absent", "--data", "absent"),
    "predict": ("absent.png", "-o", "absent"),
    "export": ("absent", "--images", "absent", "-o", "absent.onnx"),
    "report": ("absent", "-o", "absent"),
    "figures": ("absent", "--data", "absent"),
}
"""Arguments of all commands that compute with a network, with files that do not exist."""
GPU_NAMES = ("NVIDIA H200", "NVIDIA H100")


@pytest.fixture(autouse=True)
def no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo the choice of the device after the test, and hide the GPUs of this machine."""
    monkeypatch.setattr(device_choice, "_chosen", AUTO_DEVICE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with two GPUs; the list receives the GPUs that are made current."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: GPU_NAMES[device.index or 0])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_busi(tmp_path_factory.mktemp("data") / "phantoms", 12, 10, 0, seed=1, size=(64, 80))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a run that was trained with --device cpu, and the result of the command."""
    out = tmp_path_factory.mktemp("runs")
    return out, invoke("train", *train_arguments(data, out), "--device", "cpu", "--json")


def train_arguments(data: Path, out: Path) -> tuple[object, ...]:
    return ("cpu-taichinet", "--data", data, "--output", out, "--fold", 0, *settings())


def invoke(*args: object) -> Result:
    """The result of `taichinet ARGS`; errors of the command are raised."""
    result = CliRunner().invoke(command_line.app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:x", "cuda:", "cuda:01", "cuda:-1", "CUDA", "cuda ", "", "cpu:0", "mps:0"]
)
def test_unknown_names_are_refused_with_the_value_and_the_devices_of_the_machine(
    name: str, two_gpus: list[torch.device]
) -> None:
    with pytest.raises(SettingError, match=rf"--device '{name}' .*cuda:N.* or mps\. .*has cpu, cuda:0, cuda:1\."):
        use_device(name)
    assert not two_gpus


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_absent_devices_are_refused_with_the_devices_of_the_machine(name: str) -> None:
    with pytest.raises(SettingError, match=f"--device {name} is not available: this machine has cpu.* or auto"):
        use_device(name)
    assert chosen_device() == torch.device("cpu")


def test_absent_gpu_beside_others_is_refused(two_gpus: list[torch.device]) -> None:
    with pytest.raises(SettingError, match=r"--device cuda:2 .* has cpu, cuda:0, cuda:1\."):
        use_device("cuda:2")


def test_pytorch_without_cuda_is_named_as_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    with pytest.raises(SettingError, match="built without CUDA"):
        use_device("cuda")
    with pytest.raises(SettingError, match=r"this machine has cpu\."):
        use_device("mps")


def test_auto_is_the_cpu_without_a_gpu() -> None:
    assert use_device(AUTO_DEVICE) == torch.device("cpu")
    assert choose_device_config("float32").device == torch.device("cpu")
    assert describe_machine().items() >= {"device": "cpu", "accelerator": None}.items()


@pytest.mark.parametrize(
    ("name", "device", "recorded", "hardware"),
    [
        ("auto", "cuda", "cuda:0", GPU_NAMES[0]),
        ("cuda", "cuda", "cuda:0", GPU_NAMES[0]),
        ("cuda:1", "cuda:1", "cuda:1", GPU_NAMES[1]),
        ("cpu", "cpu", "cpu", None),
    ],
)
def test_choice_decides_the_device_of_the_configuration_and_of_records(
    two_gpus: list[torch.device], name: str, device: str, recorded: str, hardware: str | None
) -> None:
    assert use_device(name) == torch.device(device)
    config = choose_device_config()
    assert config.device == torch.device(device)
    assert config.describe().split()[0] == device.partition(":")[0]
    assert describe_machine().items() >= {"device": recorded, "accelerator": hardware}.items()
    assert provenance([], [])["drawn_with"]["device"] == recorded
    assert two_gpus == ([torch.device(device)] if name == "cuda:1" else [])


def test_mps_uses_float32_in_the_contiguous_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    use_device("mps")
    assert choose_device_config().describe() == "mps float32 contiguous"
    assert describe_machine().items() >= {"device": "mps", "accelerator": "mps"}.items()


@pytest.mark.parametrize("name", ["cuda:1", "mps"])
def test_one_device_for_several_processes_is_refused(
    name: str, two_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match=f"--device {name} is one device for 2 processes.* give cuda"):
        use_device(name)


@pytest.mark.parametrize(("name", "backend", "gpus"), [("cpu", "gloo", []), ("cuda", "cpu:gloo,cuda:nccl", [1])])
def test_processes_use_the_gpu_of_their_local_rank_only_with_cuda(
    name: str, backend: str, gpus: list[int], two_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend, timeout: started.append(backend))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with process_group(use_device(name)):
        assert started == [backend]
    assert list(map(str, two_gpus)) == list(map(str, gpus))


def test_all_computing_commands_have_the_option_and_others_do_not() -> None:
    commands: dict[str, Any] = get_command(command_line.app).commands  # type: ignore[attr-defined]
    with_option = {
        name: parameter
        for name, command in commands.items()
        for parameter in command.params
        if "--device" in parameter.opts
    }
    assert with_option.keys() == COMPUTING.keys()
    assert all(option.default == AUTO_DEVICE and "untested" in option.help for option in with_option.values())


@pytest.mark.parametrize("command", COMPUTING)
def test_all_commands_refuse_the_device_before_data_are_read(command: str) -> None:
    with pytest.raises(SettingError, match="--device"):
        invoke(command, *COMPUTING[command], "--device", "cuda:7")


@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_runtimes_of_the_cpu_refuse_other_devices(runtime: str) -> None:
    with pytest.raises(SettingError, match=f"--device cuda .* runtime {runtime}, which computes on the CPU.*eager or"):
        invoke("predict", "absent.png", "-o", "absent", "--runtime", runtime, "--device", "cuda")
    assert [device_of_runtime(runtime, name) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    for name in ("auto", "eager", "tuned"):
        assert device_of_runtime(name, "cuda:1") == "cuda:1"


def test_unknown_runtime_is_named_before_its_device() -> None:
    with pytest.raises(SettingError, match="Unknown runtime 'onx'"):
        device_of_runtime("onx", "cuda")


@pytest.mark.slow
def test_workers_of_compare_use_the_device() -> None:
    executor = _make_executor(2, None, 2, 0, "cuda:7", (), lambda phase, row, epochs: None)
    task: Any = "a task that is not reached"
    executor.start(task)
    ended: list[TaskResult] = []
    while not ended:
        ended = executor.wait(60)
    assert ended[0].outcome == "failed"
    assert "--device cuda:7 is not available" in ended[0].reason


def test_tasks_of_a_cluster_use_the_device_of_their_machine(
    monkeypatch: pytest.MonkeyPatch, two_gpus: list[torch.device]
) -> None:
    seen: list[torch.device] = []
    monkeypatch.setattr(ray_cluster, "run_task", partial(_note_device, seen))
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    cluster = object.__new__(ray_cluster.RayCluster)
    remote: Callable[..., Any] = ray_cluster._remote_task
    observers: tuple[Any, ...] = ("an observer",)
    cluster._cpus, cluster._device, cluster._running, cluster._observers = 2, "cuda:1", {}, observers
    cluster._remote = type("Remote", (), {"remote": staticmethod(remote)})
    task: Any = "task"
    cluster.start(task)
    assert seen == [torch.device("cuda:1")]


def _note_device(seen: list[torch.device], task: Any, device: str, observers: tuple[Any, ...]) -> str:
    assert observers == ("an observer",)
    seen.append(use_device(device))
    return "running"


def test_cluster_may_have_devices_that_this_machine_has_not(tmp_path: Path) -> None:
    arguments = ("compare", "table1", "--data", tmp_path / "absent", "--cluster", "local", "--device")
    with pytest.raises(DataError, match="absent"):
        invoke(*arguments, "cuda:7")
    with pytest.raises(SettingError, match="--device 'gpu'"):
        invoke(*arguments, "gpu")


def test_task_in_this_process_keeps_its_device(
    two_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(folder: Path, data: str) -> None:
        raise SettingError(f"evaluated on {chosen_device()}")

    monkeypatch.setattr(work, "evaluate_weights", refuse)
    use_device("cuda:1")
    assert run_task(Transfer("", "", tmp_path / "on-other", ())).reason == "evaluated on cuda:1"


@pytest.mark.slow
def test_training_prints_the_device_once_to_stderr_and_records_it(trained: tuple[Path, Result]) -> None:
    out, result = trained
    assert result.stderr.count("Device: cpu\n") == 1
    assert "Device" not in result.stdout
    json.loads(result.stdout)
    folder = out / "busi/cpu-taichinet/grouped"
    placement = read(folder / "fold-0/result.json")["placement"]
    assert placement.startswith("cpu ")
    for file in ("fold-0/result.json", "summary.json"):
        assert read(folder / file)["machine"]["device"] == "cpu"
    assert read(folder / "fold-0/weights/config.json")["provenance"]["placement"] == placement
    (mined,) = (out / "mining").glob("*/provenance.json")
    assert read(mined)["placement"] == placement


@pytest.mark.slow
@pytest.mark.parametrize("placement", [None, "cuda float32 channels-last"])
def test_mined_regions_of_earlier_versions_and_other_devices_are_used(
    trained: tuple[Path, Result], tmp_path: Path, placement: str | None
) -> None:
    (mined,) = (folder for folder in (trained[0] / "mining").iterdir() if folder.is_dir())
    file = copytree(mined, tmp_path / mined.name) / "provenance.json"
    recorded = read(file)
    del recorded["placement"]
    file.write_text(json.dumps(recorded | ({"placement": placement} if placement else {})), encoding="utf-8")
    assert _read_from_cache(file.parent).provenance.placement == (placement or "")


@pytest.mark.slow
def test_run_of_another_device_is_the_same_run(trained: tuple[Path, Result], data: Path, tmp_path: Path) -> None:
    out = copytree(trained[0], tmp_path / "runs")
    result = out / "busi/cpu-taichinet/grouped/fold-0/result.json"
    record = read(result)
    record["machine"] |= {"device": "cuda:1", "accelerator": "NVIDIA H200"}
    record["placement"] = record["placement"].replace("cpu", "cuda")
    result.write_text(json.dumps(record), encoding="utf-8")
    invoke("train", *train_arguments(data, out), "--resume")
    assert read(result) == record


@pytest.mark.slow
def test_evaluation_and_prediction_record_the_device(trained: tuple[Path, Result], data: Path, tmp_path: Path) -> None:
    run = trained[0] / "busi/cpu-taichinet/grouped/fold-0"
    evaluated = invoke("evaluate", run, "--data", data, "-o", tmp_path / "scores", "--device", "cpu", "--json")
    assert evaluated.stderr.count("Device: cpu\n") == 1
    summary = read(tmp_path / "scores/summary.json")
    assert summary["machine"]["device"] == "cpu"
    assert summary["networks"][0]["placement"].startswith("cpu ")
    image = next(data.rglob("benign (1).png"))
    predicted = invoke("predict", image, "-w", run / "weights", "-o", tmp_path / "masks", "--device", "cpu", "--json")
    assert predicted.stderr.count("Device: cpu\n") == 1
    assert [row["device"] for row in json.loads(predicted.stdout)] == ["cpu"]


@pytest.mark.slow
def test_table_of_earlier_version_without_the_device_is_replaced(
    trained: tuple[Path, Result], data: Path, tmp_path: Path
) -> None:
    weights = trained[0] / "busi/cpu-taichinet/grouped/fold-0/weights"
    arguments = ("predict", next(data.rglob("benign (1).png")), "-w", weights, "-o", tmp_path)
    invoke(*arguments)
    table = tmp_path / f"{TABLE}.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    later = len(fields(Provenance)) + 3  # columns that earlier versions did not have
    table.write_text("".join(f"{line.rsplit(',', later)[0]}\n" for line in lines), encoding="utf-8")
    invoke(*arguments)
    assert table.read_text(encoding="utf-8").splitlines()[0] == lines[0]


@pytest.mark.slow
def test_cost_prints_the_device_only_if_it_measures(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("parts: [{data: busi, recipes: [unet]}]", encoding="utf-8")
    arguments = ("cost", suite, "--json")
    assert "Device" not in invoke(*arguments).stderr
    command = (*arguments, "--calibrate", "--set", "options.width=2", "--set", "data.size=32", "--device", "cpu")
    measured = invoke(*command)
    assert measured.stderr.count("Device: cpu\n") == 1
    assert json.loads(measured.stdout)["this_machine"]["machine"]["device"] == "cpu"
