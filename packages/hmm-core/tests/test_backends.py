"""Which backend computes a call, and what is said when it cannot."""

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import hmm_core
from hmm_core import (
    BackendUnavailableError,
    NativeKernelsMissingWarning,
    _dispatch,
    backends,
    backward,
    entropy,
    expected_transitions,
    forward,
    log_likelihood,
    posterior,
    sample,
    testing,
    viterbi,
)
from hmm_core.testing import Arguments, random_hmm

OPS: dict[str, Callable[..., Any]] = {
    "backward": backward,
    "entropy": entropy,
    "expected_transitions": expected_transitions,
    "forward": forward,
    "log_likelihood": log_likelihood,
    "posterior": posterior,
    "sample": sample,
    "viterbi": viterbi,
}


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation of the pure-Python wheel that has not warned yet."""
    monkeypatch.setattr(backends.cpu, "LOAD_ERROR", "No module named '_cpu'")
    monkeypatch.setattr(_dispatch, "_warned", [])


def test_kernels_are_there_when_they_are_required(native: None) -> None:
    assert native is None
    assert hmm_core.HAVE_NATIVE
    assert backends.available()["cpu"] is None
    assert backends.available()["reference"] is None


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("op", OPS)
def test_a_kernel_has_the_signature_of_the_reference(op: str) -> None:
    reference = getattr(importlib.import_module(f"hmm_core.backends.reference.{op}"), op)
    kernel = getattr(importlib.import_module(f"hmm_core.backends.cpu.{op}"), op)
    assert inspect.signature(kernel) == inspect.signature(reference)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("kind", ["Filter", "Viterbi"])
def test_streams_have_the_same_methods_in_all_backends(kind: str) -> None:
    reference, kernel = (
        getattr(importlib.import_module(f"hmm_core.backends.{backend}.online"), kind)
        for backend in ("reference", "cpu")
    )
    assert inspect.signature(kernel) == inspect.signature(reference)
    public = [name for name in vars(kernel) if not name.startswith("_")]
    for name in public:
        if inspect.isfunction(getattr(kernel, name)):
            assert inspect.signature(getattr(kernel, name)) == inspect.signature(getattr(reference, name))


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("name", "op"), OPS.items())
def test_auto_uses_the_kernel(
    name: str, op: Callable[..., Any], sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"hmm_core.backends.cpu.{name}")
    calls = []
    original = getattr(module, name)

    def counted(*arguments: Any) -> object:
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(module, name, counted)
    hmm = random_hmm(sparse=sparse)
    hmm.apply(op)
    assert len(calls) == 1
    hmm.apply(op, backend="cpu")
    assert len(calls) == 2
    hmm.apply(op, backend="reference")
    assert len(calls) == 2


def test_kernels_take_cpu_tensors_only() -> None:
    # Tensors on the meta device hold no values, so the choice is asked for directly.
    with pytest.raises(BackendUnavailableError, match="needs CPU tensors; these are on meta"):
        _dispatch.resolve("cpu", torch.device("meta"))
    assert _dispatch.resolve("auto", torch.device("meta")) == "reference"


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("op", OPS.values())
def test_an_explicit_kernel_refuses_function_transforms(op: Callable[..., Any]) -> None:
    hmm = random_hmm()
    with pytest.raises(BackendUnavailableError, match="cannot run under torch\\.func"):
        torch.func.vmap(lambda x: hmm._replace(log_emission=x).apply(op, backend="cpu"))(
            hmm.log_emission[None]
        )


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_auto_warns_once_and_says_how_to_get_them() -> None:
    hmm = random_hmm(sparse=True)
    expected = hmm.apply(viterbi, backend="reference")
    with pytest.warns(NativeKernelsMissingWarning, match=r"install a C\+\+17 compiler") as caught:
        first = hmm.apply(viterbi)
    assert len(caught) == 1
    assert caught[0].filename == testing.__file__  # the caller of the operation
    # Warnings are errors here: the second call does not warn.
    second = hmm.apply(viterbi)
    random_hmm().apply(forward)
    assert torch.equal(first.states, expected.states)
    assert torch.equal(second.states, expected.states)


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_the_cpu_backend_says_why() -> None:
    reason = backends.available()["cpu"]
    assert reason is not None
    assert "No module named '_cpu'" in reason
    with pytest.raises(BackendUnavailableError) as caught:
        random_hmm(sparse=True).apply(viterbi, backend="cpu")
    assert str(caught.value) == f'backend="cpu" {reason}'


def test_an_installation_without_the_extension_imports() -> None:
    program = (
        "import sys; sys.modules['hmm_core.backends.cpu._cpu'] = None\n"
        "import hmm_core\n"
        "assert not hmm_core.HAVE_NATIVE\n"
        "assert 'import of hmm_core.backends.cpu._cpu halted' in hmm_core.backends.available()['cpu']\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))


@pytest.mark.usefixtures("native")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_kernels_work_after_a_fork() -> None:
    # Only the kernel: torch's own thread pool does not survive a fork.
    program = (
        "import os, sys, torch\n"
        "import hmm_core\n"
        "from hmm_core._validate import canonical\n"
        "from hmm_core.testing import Arguments, random_hmm\n"
        "torch.set_num_threads(4)\n"
        "problem = canonical(*random_hmm(8, 500, 200, sparse=True, ragged=False))\n"
        "run = lambda: torch.ops.hmm_core.viterbi.default(*problem, 'auto', 'cpu')[0].tolist()\n"
        "expected = run()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if run() == expected else 1)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.usefixtures("native")
def test_callers_in_several_threads_get_their_own_results() -> None:
    def states(problem: Arguments) -> torch.Tensor:
        torch.set_num_threads(3)  # torch remembers it thread by thread
        return problem.apply(viterbi).states

    problems = [random_hmm(6, 300, 40, sparse=True, seed=seed) for seed in range(4)]
    expected = [problem.apply(viterbi).states for problem in problems]
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                assert all(map(torch.equal, pool.map(states, problems), expected))
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("native")
def test_an_unusable_kernel_variant_is_refused_with_the_usable_ones() -> None:
    before = backends.kernel_variant()
    with (
        pytest.raises(BackendUnavailableError, match=f"usable kernel variant .*{before}.*; got 'x86-64-v9'"),
        backends.use_kernel_variant("x86-64-v9"),
    ):
        pass
    assert backends.kernel_variant() == before
    assert before in backends.kernel_variants()


def test_a_kernel_variant_is_used_until_the_end_of_a_block(variant: str) -> None:
    assert backends.kernel_variant() == variant
    for other in backends.kernel_variants():
        with backends.use_kernel_variant(other):
            assert backends.kernel_variant() == other
        assert backends.kernel_variant() == variant


@pytest.mark.usefixtures("without_kernels")
def test_without_kernels_there_is_no_variant() -> None:
    assert backends.kernel_variant() is None
    assert backends.kernel_variants() == ()
    with (
        pytest.raises(BackendUnavailableError, match="none, needs the C\\+\\+ kernels of hmm-core"),
        backends.use_kernel_variant("native"),
    ):
        pass


def test_the_public_names_are_listed() -> None:
    assert hmm_core.__all__ == sorted(
        hmm_core.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    for name in hmm_core.__all__:
        assert hasattr(hmm_core, name)
    assert hmm_core.__version__.count(".") == 2


@pytest.mark.parametrize(
    ("built", "seen", "triton", "torch_version", "reason"),
    [
        ("13.0", True, "3.6.0", "2.11.0+cu130", None),
        ("13.0", True, "3.10.1", "3.0.0", None),
        ("13.0", True, "by another name", "2.15.0", None),
        ("13.0", True, None, "2.15.0", "needs Triton, which is not installed"),
        ("13.0", True, "3.5.1", "2.15.0", "needs triton 3.6 or newer; 3.5 is installed"),
        ("13.0", True, "3.6.0", "2.9.1", "needs torch 2.11 or newer; 2.9 is installed"),
        (None, False, "3.9.0", "2.15.0", "needs a GPU; this torch is built without CUDA"),
        ("13.0", False, "3.9.0", "2.15.0", "needs a GPU; torch is built for CUDA 13.0, but sees no device"),
    ],
)
def test_it_is_said_why_cuda_is_not_usable(
    built: str | None,
    seen: bool,
    triton: str | None,
    torch_version: str,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        found = {"triton": triton, "torch": torch_version}[package]
        if found is None or found == "by another name":
            raise importlib.metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None if triton is None else "a module")
    monkeypatch.setattr(importlib.metadata, "version", version)
    problem = backends.available()["cuda"]
    assert (problem is None) if reason is None else (problem is not None and problem.startswith(reason))


def test_auto_says_once_why_cuda_tensors_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends.cuda, "problem", lambda: "needs Triton")
    monkeypatch.setattr(_dispatch, "_warned", [])
    with pytest.warns(NativeKernelsMissingWarning, match="needs Triton; using the slow reference instead"):
        assert _dispatch.resolve("auto", torch.device("cuda")) == "reference"
    assert _dispatch.resolve("auto", torch.device("cuda")) == "reference"
