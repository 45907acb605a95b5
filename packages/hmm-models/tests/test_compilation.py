"""What torch.compile, torch.export, torch.jit.trace and torch.jit.script make of each model."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.jit.frontend import FrontendError

from hmm_models import (
    ContextualNeuralHMM,
    GaussianHMM,
    HiddenMarkovModel,
    HMMPyTorch,
    MixtureGaussianHMM,
    NeuralHMM,
    SemiMarkovHMM,
    StateScores,
    create_left_to_right_matrix,
)

MODELS: dict[str, Callable[[], nn.Module]] = {
    "GaussianHMM": lambda: GaussianHMM(3, 4),
    "MixtureGaussianHMM": lambda: MixtureGaussianHMM(3, 4, 2, covariance_type="full"),
    "HMMPyTorch": lambda: HMMPyTorch(create_left_to_right_matrix(3), feature_dim=4),
    "HiddenMarkovModel": lambda: HiddenMarkovModel(StateScores(4)),
    "SemiMarkovHMM": lambda: SemiMarkovHMM(3, 4, 6, censoring="right"),
    "NeuralHMM": lambda: NeuralHMM(3, 4, hidden_dim=8),
    "ContextualNeuralHMM": lambda: ContextualNeuralHMM(3, 4, context_dim=2, hidden_dim=8),
}


class Both(nn.Module):
    """Log-likelihood and most likely path of a model: what an application calls."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        data = {} if context is None else {"context": context}
        path = self.model.viterbi(x, lengths, **data)
        return self.model.log_likelihood(x, lengths, **data), path.states, path.log_score


def inputs(name: str, lengths: list[int], seed: int = 0) -> tuple[Tensor, ...]:
    """Sequences of these lengths, and a context where the model needs one."""
    generator = torch.Generator().manual_seed(seed)
    B, T = len(lengths), max(lengths)
    data = (torch.randn(B, T, 4, generator=generator), torch.tensor(lengths))
    return (*data, torch.randn(B, T, 2, generator=generator)) if name == "ContextualNeuralHMM" else data


def trace(module: nn.Module, data: tuple[Tensor, ...]) -> Any:
    return torch.jit.trace(module, data)  # type: ignore[no-untyped-call]  # torch's


def assert_same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        # float32; the parts of a graph may be summed in another order.
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def module(name: str) -> Both:
    torch.manual_seed(0)
    return Both(MODELS[name]())


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Let torch say what it deprecates in itself, and forget what it has compiled."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", message=r".*torch\.jit", category=category)
        yield
    torch.compiler.reset()


def test_a_model_compiles_without_a_break(name: str, module: Both) -> None:
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for lengths in ([12, 7, 1, 4], [9, 2]):
        data = inputs(name, lengths)
        assert_same(compiled(*data), module(*data))


def test_a_model_exports_with_a_batch_and_a_time_of_any_size(name: str, module: Both) -> None:
    B, T = torch.export.Dim("B"), torch.export.Dim("T", min=3)
    shapes: Any = ({0: B, 1: T}, {0: B}, {0: B, 1: T})
    data = inputs(name, [12, 7, 1, 4])
    exported = torch.export.export(module, data, dynamic_shapes=shapes[: len(data)])
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for lengths in ([12, 7, 1, 4], [3, 3], [20, 1, 0, 9, 5]):
        data = inputs(name, lengths, seed=1)
        assert_same(loaded(*data), module(*data))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # shapes that checks compare
def test_a_traced_model_takes_a_batch_and_a_time_of_any_size(name: str, module: Both) -> None:
    with torch.no_grad():
        file = io.BytesIO()
        torch.jit.save(trace(module, inputs(name, [12, 7, 1, 4])), file)
        file.seek(0)
        loaded = torch.jit.load(file)  # type: ignore[no-untyped-call]  # torch's
        for lengths in ([12, 7, 1, 4], [3, 3], [20, 1, 0, 9, 5]):
            data = inputs(name, lengths, seed=1)
            assert_same(loaded(*data), module(*data))


def test_torch_cannot_script_a_model_itself(module: Both) -> None:
    with pytest.raises(FrontendError, match=r"can't take .* keyword-only arguments with defaults"):
        torch.jit.script(type(module.model).log_likelihood)
    # It looks at the parts in an order of its own, and stumbles over whatever comes first.
    with pytest.raises((FrontendError, RuntimeError, ValueError)):
        torch.jit.script(module.model)


class LikelyStates(nn.Module):
    """What is written in TorchScript may decide by values, and call a traced model."""

    def __init__(self, traced: Any) -> None:
        super().__init__()
        self.traced = traced

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        log_likelihood, states, _ = self.traced(x, lengths)
        assert isinstance(states, torch.Tensor)
        if bool((log_likelihood < -1e3).any()):
            return torch.full_like(states, -1)
        return states


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_script_calls_a_traced_model() -> None:
    module = Both(GaussianHMM(3, 4))
    with torch.no_grad():
        scripted = torch.jit.script(LikelyStates(trace(module, inputs("", [12, 7, 1, 4]))))
        x, lengths = inputs("", [6, 4], seed=2)
        assert torch.equal(scripted(x, lengths), module(x, lengths)[1])
        assert bool((scripted(1e3 * x, lengths) == -1).all())


def test_inductor_compiles_a_model() -> None:
    model = HiddenMarkovModel(StateScores(4))
    x, lengths = inputs("", [12, 7, 1, 4])
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(x, lengths), model(x, lengths), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", [GaussianHMM(3, 4, 2), SemiMarkovHMM(3, 4, 6), NeuralHMM(3, 4, 8)])
def test_gradients_pass_through_a_compiled_model(model: nn.Module) -> None:
    x, lengths = inputs("", [12, 7, 3, 4])
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(model(x, lengths).sum(), list(model.parameters()), allow_unused=True)
    found = torch.autograd.grad(compiled(x, lengths).sum(), list(model.parameters()), allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        # Sums of float32 in another order.
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_table_in_the_readme_says_what_is_tested() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text.split("## Compile, export, trace")[1], re.MULTILINE)
    assert dict(rows) == dict.fromkeys(MODELS, "yes | yes | yes | traced")
