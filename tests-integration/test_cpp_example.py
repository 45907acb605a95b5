"""The C++ example: aligned with a saved model it gives Python's states, and it survives damaged files."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from workspace import ROOT

import hmm_core
from hmm_models import GaussianHMM, GaussianMixtures, phone_topology, save_model

SOURCES = ROOT / "packages" / "hmm-core" / "examples" / "cpp"
COMPILER = os.environ.get("CXX") or shutil.which("c++")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def build(*command: str | Path) -> None:
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example as a user does: with CMake, and the package where it says it is."""
    if shutil.which("cmake") is None or COMPILER is None:
        pytest.skip("there is no CMake or no C++ compiler")
    folder = tmp_path_factory.mktemp("example")
    package = f"-Dhmm_DIR={hmm_core.get_cmake_dir()}"
    build("cmake", "-S", SOURCES, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", package)
    build("cmake", "--build", folder)
    return folder / "align"


@pytest.fixture(scope="module")
def checked_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the example by hand, so that it stops at whatever C++ does not define."""
    if COMPILER is None:
        pytest.skip("there is no C++ compiler")
    target = tmp_path_factory.mktemp("checked") / "align"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    done = run(
        COMPILER, *flags, *sanitizers, "-I", hmm_core.get_include(), SOURCES / "align.cpp", "-o", target
    )
    if "cannot find" in done.stderr:
        pytest.skip("the C++ compiler cannot link the sanitizers")
    assert done.returncode == 0, done.stderr
    return target


def model_of(kind: str) -> GaussianHMM:
    torch.manual_seed(5)
    if kind == "phone":
        model = GaussianHMM(6, 3, 1, topology=phone_topology(6))
    else:
        model = GaussianHMM(5, 4, 3, topology=kind)
    emission = model.emission
    assert isinstance(emission, GaussianMixtures)
    with torch.no_grad():
        emission.mean.mul_(3)
        emission.log_variance.normal_()
        emission.weight_logits.normal_()
        emission.weight_logits[0, 1:] = -torch.inf
        emission.variance_floor.fill_(0.5)
        if kind == "ergodic":
            model.transition.logits.normal_()
    return model


def files(model: GaussianHMM, features: torch.Tensor, folder: Path) -> list[str | Path]:
    """Save both, and return the arguments of the program."""
    save_model(model, folder / "model.safetensors")
    np.save(folder / "features.npy", features.numpy())
    return ["--model", folder / "model.safetensors", "--features", folder / "features.npy"]


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["ergodic", "left_to_right", "phone"])
def test_the_states_are_those_of_python(program: Path, tmp_path: Path, kind: str, double: bool) -> None:
    model = model_of(kind)
    x = model.sample(300, generator=torch.Generator().manual_seed(1)).features
    x += 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    done = run(program, *files(model.double() if double else model, x[0], tmp_path))
    assert done.returncode == 0, done.stderr
    states: list[int] = []
    for line in done.stdout.splitlines():
        begin, end, state = map(int, line.split("\t"))
        assert begin == len(states)
        states += [state] * (end - begin)
    assert states == model.viterbi(x).states[0].tolist()
    assert len(set(states)) > 3


def test_nothing_is_printed_for_no_frames_and_a_reason_where_there_is_no_path(
    program: Path, tmp_path: Path
) -> None:
    empty = run(program, *files(model_of("ergodic"), torch.zeros(0, 4), tmp_path))
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "")
    short = run(program, *files(model_of("phone"), torch.zeros(5, 3), tmp_path))
    assert short.returncode == 1
    assert short.stderr == "align: no path leads through these features\n"
    usage = run(program, "--model", "x")
    assert usage.returncode == 2
    assert usage.stderr.startswith("usage: ")


def test_what_does_not_fit_is_named(checked_program: Path, tmp_path: Path) -> None:
    arguments = files(model_of("ergodic"), torch.zeros(7, 3), tmp_path)
    found = [run(checked_program, *arguments).stderr]
    np.save(tmp_path / "features.npy", np.zeros((7, 4)))
    found.append(run(checked_program, *arguments).stderr)
    np.save(tmp_path / "features.npy", np.asfortranarray(np.zeros((7, 4), np.float32)))
    found.append(run(checked_program, *arguments).stderr)
    np.save(tmp_path / "features.npy", np.full((7, 4), np.nan, np.float32))
    found.append(run(checked_program, *arguments).stderr)
    save_model(GaussianMixtures(5, 3, 4), tmp_path / "model.safetensors")
    found.append(run(checked_program, *arguments).stderr)
    found.append(run(checked_program, "--model", tmp_path / "none", "--features", tmp_path / "none").stderr)
    features = tmp_path / "features.npy"
    assert found == [
        "align: the model has 4 features a frame, the file of features 3\n",
        f"align: {features} must hold float32\n",
        f"align: {features} must hold rows one after another; save numpy.ascontiguousarray of it\n",
        f"align: {features} must hold finite numbers\n",
        f"align: {tmp_path / 'model.safetensors'} holds a GaussianMixtures; needed is a GaussianHMM\n",
        f"align: {tmp_path / 'none'} cannot be opened\n",
    ]


def test_damaged_files_are_refused_or_read_but_nothing_undefined_happens(
    checked_program: Path, tmp_path: Path
) -> None:
    arguments = files(model_of("ergodic"), torch.randn(6, 4), tmp_path)
    assert run(checked_program, *arguments).returncode == 0
    chance = np.random.default_rng(0)
    refused = 0
    for name in ("model.safetensors", "features.npy"):
        path = tmp_path / name
        good = path.read_bytes()
        header = good.rindex(b"}" if name == "model.safetensors" else b"\n", 0, 2000)
        damaged = [good[:size] for size in (0, 5, 9, 50, header, len(good) - 1)] + [good + b"x"]
        for _ in range(60):
            place = int(chance.integers(header))
            damaged.append(good[:place] + bytes([int(chance.integers(256))]) + good[place + 1 :])
        for content in damaged:
            path.write_bytes(content)
            done = run(checked_program, *arguments)
            assert done.returncode in {0, 1}, done.stderr
            assert done.returncode == 0 or done.stderr.startswith("align: "), done.stderr
            refused += done.returncode
        path.write_bytes(good)
    assert refused > 60
