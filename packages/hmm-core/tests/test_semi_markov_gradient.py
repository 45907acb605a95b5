"""Derivatives with explicit durations: first, second, transforms, compilation, export."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import BackendUnavailableError, Sparse, semi_markov
from hmm_core.ops.semi_markov._problem import prepare
from hmm_core.testing import Arguments, random_hmm

CENSORING = ["none", "left", "right", "both"]


def _problem(seed: int = 4, *, impossible: float = 0.0, **form: Any) -> tuple[Arguments, Tensor]:
    hmm = random_hmm(2, 5, 3, seed=seed, impossible=impossible, **form)
    if isinstance(hmm.log_transition, Sparse) and impossible == 0:
        # Finite differences cannot cross -inf, nor the weights of unused slots.
        order = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2]])
        order = order.expand_as(hmm.log_transition.predecessors)
        hmm = hmm._replace(log_transition=Sparse(order, hmm.log_transition.log_weight))
    shape = (2, 3, 3) if form.get("per_sequence") else (3, 3)
    generator = torch.Generator().manual_seed(seed)
    duration = torch.randn(shape, generator=generator, dtype=torch.float64)
    nothing = torch.rand(shape, generator=generator) < impossible
    duration = duration.masked_fill(nothing, -torch.inf)
    return hmm._replace(lengths=torch.tensor([5, 4])), duration.to(hmm.log_emission.dtype)


def _leaves(hmm: Arguments, duration: Tensor) -> list[Tensor]:
    transition = hmm.log_transition
    weight = transition.log_weight if isinstance(transition, Sparse) else transition
    assert hmm.log_final is not None
    values = (hmm.log_initial, weight, duration, hmm.log_emission, hmm.log_final)
    return [x.clone().requires_grad_() for x in values]


def _function(hmm: Arguments, op: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    def function(initial: Tensor, weight: Tensor, duration: Tensor, emission: Tensor, final: Tensor) -> Any:
        transition = hmm.log_transition
        moved = Sparse(transition.predecessors, weight) if isinstance(transition, Sparse) else weight
        return op(
            *(initial, moved, duration, emission, hmm.lengths),
            log_final=final,
            emission_index=hmm.emission_index,
            **options,
        )

    return function


@pytest.mark.parametrize(
    ("censoring", "form"),
    [
        ("none", {}),
        ("none", {"sparse": True, "densities": 2, "per_sequence": True}),
        ("left", {"sparse": True}),
        ("right", {"densities": 2}),
        ("both", {"per_sequence": True}),
    ],
)
def test_first_and_second_derivatives_are_those_of_finite_differences(
    censoring: Any, form: dict[str, Any]
) -> None:
    hmm, duration = _problem(**form)
    function = _function(hmm, semi_markov.log_likelihood, censoring=censoring)
    assert torch.autograd.gradcheck(function, _leaves(hmm, duration))
    if "per_sequence" not in form:
        assert torch.autograd.gradgradcheck(function, _leaves(hmm, duration))


@pytest.mark.parametrize("censoring", ["none", "both"])
def test_posteriors_are_differentiable(censoring: Any) -> None:
    hmm, duration = _problem()
    function = _function(hmm, semi_markov.posterior, censoring=censoring)
    assert torch.autograd.gradcheck(lambda *x: tuple(function(*x)), _leaves(hmm, duration))


@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_of_the_best_score_counts_its_path(censoring: Any, sparse: bool) -> None:
    hmm, duration = _problem(sparse=sparse, densities=2)
    function = _function(hmm, semi_markov.viterbi, censoring=censoring)
    assert torch.autograd.gradcheck(lambda *x: function(*x).log_score, _leaves(hmm, duration))


@pytest.mark.parametrize("impossible", [0.2, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_gradients_at_minus_infinity_are_zero(
    impossible: float, censoring: Any, sparse: bool, backend: Any
) -> None:
    hmm, duration = _problem(7, impossible=impossible, sparse=sparse)
    leaves = _leaves(hmm, duration)
    total = _function(hmm, semi_markov.log_likelihood, censoring=censoring, backend=backend)(*leaves)
    gradients = torch.autograd.grad(total.sum(), leaves, create_graph=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        assert gradient.isfinite().all()
        assert (gradient[leaf == -torch.inf] == 0).all()
    squares = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
    for second in torch.autograd.grad(squares, leaves):
        assert second.isfinite().all()
    counts = _function(hmm, semi_markov.posterior, censoring=censoring)(*leaves)
    for gradient in torch.autograd.grad(counts.state.square().sum(), leaves):
        assert gradient.isfinite().all()


def test_the_gradient_is_that_of_the_recorded_recursion() -> None:
    hmm, duration = _problem(impossible=0.1, per_sequence=True)
    factor = torch.tensor([1.5, -2.0]).double()
    gradients = []
    for backend in ("cpu", "reference"):
        leaves = _leaves(hmm, duration)
        total = _function(hmm, semi_markov.log_likelihood, backend=backend, censoring="right")(*leaves)
        gradients.append(torch.autograd.grad(total, leaves, factor))
    leaves = _leaves(hmm, duration)
    initial, weight, durations, emission, final = leaves
    arguments = (initial, weight, durations, emission, hmm.lengths)
    problem, _ = prepare("reference", *arguments, final, hmm.emission_index, "right")
    module = importlib.import_module("hmm_core.backends.reference.semi_markov.log_likelihood")
    gradients.append(torch.autograd.grad(module.log_likelihood(*problem), leaves, factor))
    for first, second, third in zip(*gradients, strict=True):
        # Only the order of float64 additions differs.
        torch.testing.assert_close(first, third, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(second, third, rtol=1e-9, atol=1e-11)


def test_function_transforms_agree_with_autograd() -> None:
    hmm, duration = _problem()

    def total(emission: Tensor) -> Any:
        leaves = (hmm.log_initial, hmm.log_transition, duration, emission, hmm.lengths)
        return semi_markov.log_likelihood(*leaves, log_final=hmm.log_final, censoring="both").sum()

    emission = hmm.log_emission.clone().requires_grad_()
    (expected,) = torch.autograd.grad(total(emission), emission)
    torch.testing.assert_close(torch.func.grad(total)(hmm.log_emission), expected)
    direction = torch.ones_like(expected)
    tangent = torch.func.jvp(total, (hmm.log_emission,), (direction,))[1]
    torch.testing.assert_close(tangent, (expected * direction).sum())
    stacked = torch.stack((hmm.log_emission, hmm.log_emission + 1))
    torch.testing.assert_close(torch.func.vmap(total)(stacked), torch.stack([total(x) for x in stacked]))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_the_registered_operations_pass_opcheck() -> None:
    hmm, duration = _problem(sparse=True, densities=2)
    hmm = hmm._replace(log_emission=hmm.log_emission[:, :2], lengths=torch.tensor([2, 1]))
    assert hmm.log_final is not None
    arguments = (hmm.log_initial, hmm.log_transition, duration, hmm.log_emission, hmm.lengths)
    problem, _ = prepare("reference", *arguments, hmm.log_final, hmm.emission_index, "right")
    constant = problem.detach()
    problem = type(problem)(
        *(x if x is None or not x.is_floating_point() else x.clone().requires_grad_() for x in constant)  # type: ignore[arg-type]  # each None stays in its place
    )
    ops = torch.ops.hmm_core
    torch.library.opcheck(ops.semi_markov_log_likelihood.default, (*problem, "reference"))
    gradient = torch.ones(2, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(ops.semi_markov_log_likelihood_backward.default, (gradient, *problem, "reference"))
    torch.library.opcheck(ops.semi_markov_posterior.default, (*constant, "reference"))
    torch.library.opcheck(ops.semi_markov_viterbi.default, (*constant, "reference"))


class _Model(torch.nn.Module):
    """Sequence scores of a model that holds its durations as a parameter."""

    def __init__(self, hmm: Arguments, duration: Tensor) -> None:
        super().__init__()
        assert isinstance(hmm.log_transition, Tensor)
        self.log_initial = torch.nn.Parameter(hmm.log_initial.clone())
        self.weight = torch.nn.Parameter(hmm.log_transition.clone())
        self.duration = torch.nn.Parameter(duration.clone())

    def forward(self, log_emission: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        arguments = (self.log_initial, self.weight, self.duration, log_emission, lengths)
        total = semi_markov.log_likelihood(*arguments, censoring="right")
        return total, *semi_markov.viterbi(*arguments)


def test_compiled_graphs_are_whole_and_give_the_same() -> None:
    hmm, duration = _problem(dtype=torch.float32)
    model = _Model(hmm, duration)
    # aot_eager traces forward and backward like the default compiler, without generating code.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    results = []
    for function in (model, compiled):
        emission = hmm.log_emission.clone().requires_grad_()
        total, states, durations, score = function(emission, hmm.lengths)
        gradients = torch.autograd.grad((total + score).sum(), (emission, *model.parameters()))
        results.append((total, states, durations, score, *gradients))
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, eager)


def test_exported_programs_take_any_batch_and_length() -> None:
    hmm, duration = _problem(dtype=torch.float32)
    model = _Model(hmm, duration)
    B, T = torch.export.Dim("B"), torch.export.Dim("T")
    exported = torch.export.export(
        model, (hmm.log_emission, hmm.lengths), dynamic_shapes=({0: B, 1: T}, {0: B})
    )
    other = random_hmm(5, 9, 3, seed=1, dtype=torch.float32)
    for actual, expected in zip(
        exported.module()(other.log_emission, other.lengths),
        model(other.log_emission, other.lengths),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected)


def test_the_kernels_cannot_be_transformed() -> None:
    hmm, duration = _problem()

    def total(emission: Tensor) -> Tensor:
        return semi_markov.log_likelihood(
            hmm.log_initial,
            hmm.log_transition,
            duration,
            emission,
            backend="cpu",
        ).sum()

    with pytest.raises(BackendUnavailableError, match=r"torch\.func"):
        torch.func.grad(total)(hmm.log_emission)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("op", ["log_likelihood", "posterior", "viterbi", "sample"])
def test_a_kernel_has_the_signature_of_the_reference(op: str) -> None:
    modules = [
        importlib.import_module(f"hmm_core.backends.{backend}.semi_markov.{op}")
        for backend in ("reference", "cpu")
    ]
    reference, kernel = (inspect.signature(getattr(module, op)) for module in modules)
    assert kernel == reference


def test_a_result_that_is_not_used_has_no_gradient() -> None:
    hmm, duration = _problem()
    leaves = _leaves(hmm, duration)
    total = _function(hmm, semi_markov.log_likelihood)(*leaves)
    for gradient in torch.autograd.grad(total[:0].sum(), leaves):
        assert (gradient == 0).all()


def test_the_best_segmentation_can_be_mapped() -> None:
    hmm, duration = _problem()

    def best(emission: Tensor) -> Tensor:
        return semi_markov.viterbi(hmm.log_initial, hmm.log_transition, duration, emission).states

    stacked = torch.stack((hmm.log_emission, -hmm.log_emission))
    assert torch.equal(torch.func.vmap(best)(stacked), torch.stack([best(x) for x in stacked]))
