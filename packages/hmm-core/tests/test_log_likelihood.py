"""Differentiation of the log-likelihood: first, second, forward mode, transforms, compilation, export."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from hmm_core import Sparse, backward, expected_transitions, forward, log_likelihood, posterior, viterbi
from hmm_core._validate import canonical
from hmm_core.testing import Arguments, random_hmm


def _leaves(hmm: Arguments) -> list[Tensor]:
    transition = hmm.log_transition
    weight = transition.log_weight if isinstance(transition, Sparse) else transition
    assert hmm.log_final is not None
    return [x.clone().requires_grad_() for x in (hmm.log_initial, weight, hmm.log_emission, hmm.log_final)]


def _function(hmm: Arguments, op: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    def function(initial: Tensor, weight: Tensor, emission: Tensor, final: Tensor) -> object:
        transition = hmm.log_transition
        moved = Sparse(transition.predecessors, weight) if isinstance(transition, Sparse) else weight
        return hmm._replace(
            log_initial=initial, log_transition=moved, log_emission=emission, log_final=final
        ).apply(op, **options)

    return function


def _possible(form: dict[str, Any]) -> Arguments:
    """A problem without -inf, which finite differences cannot cross, not even in unused slots."""
    hmm = random_hmm(2, 3, 3, seed=4, **form)
    if isinstance(hmm.log_transition, Sparse):
        order = torch.tensor([[0, 1, -1], [0, 1, 2], [1, 2, -1]])
        hmm = hmm._replace(
            log_transition=Sparse(
                order.expand_as(hmm.log_transition.predecessors), hmm.log_transition.log_weight
            )
        )
    return hmm


@pytest.mark.parametrize("options", [{}, {"checkpoint": True}, {"backend": "reference"}], ids=str)
def test_first_and_second_derivatives_are_those_of_finite_differences(
    form: dict[str, Any], options: dict[str, Any]
) -> None:
    hmm = _possible(form)
    function = _function(hmm, log_likelihood, **options)
    assert torch.autograd.gradcheck(function, _leaves(hmm))
    assert torch.autograd.gradgradcheck(function, _leaves(hmm))


@pytest.mark.parametrize("op", [forward, posterior, expected_transitions])
@pytest.mark.parametrize("sparse", [False, True])
def test_other_operations_are_differentiable(op: Callable[..., Any], sparse: bool) -> None:
    hmm = _possible({"sparse": sparse})._replace(lengths=None)
    assert torch.autograd.gradcheck(_function(hmm, op), _leaves(hmm))


@pytest.mark.parametrize("sparse", [False, True])
def test_backward_is_differentiable(sparse: bool) -> None:
    hmm = _possible({"sparse": sparse})._replace(lengths=None)
    initial, *others = _leaves(hmm)
    function = _function(hmm, backward)
    assert torch.autograd.gradcheck(lambda *x: function(initial, *x), others)


def test_gradient_is_that_of_the_recorded_recursion(hmm: Arguments) -> None:
    def gradients(op: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        leaves = _leaves(hmm)
        total = _function(hmm, op)(*leaves)
        assert isinstance(total, Tensor)
        factor = torch.arange(1.0, 1.0 + len(total), dtype=total.dtype)
        return torch.autograd.grad(total, leaves, factor)

    def recorded(*arguments: Any, **options: Any) -> Tensor:
        return forward(*arguments, **options).log_likelihood

    for actual, expected in zip(gradients(log_likelihood), gradients(recorded), strict=True):
        assert actual.isfinite().all()
        # Only the order of float64 additions differs.
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("impossible", [0.5, 0.95, 1.0])
@pytest.mark.parametrize("op", [log_likelihood, forward, backward, posterior, expected_transitions, viterbi])
def test_gradients_at_minus_infinity_are_finite(
    op: Callable[..., Any], impossible: float, form: dict[str, Any]
) -> None:
    hmm = random_hmm(3, 4, 3, impossible=impossible, seed=7, **form)
    leaves = _leaves(hmm)
    result = _function(hmm, op)(*leaves)
    outputs = [result] if isinstance(result, Tensor) else list(result)
    outputs = [output for output in outputs if output.requires_grad]
    gradients = torch.autograd.grad(
        outputs,
        leaves,
        [torch.ones_like(x) for x in outputs],
        allow_unused=True,
        create_graph=op is log_likelihood,
    )
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            assert gradient.isfinite().all()
            if op in {log_likelihood, viterbi}:
                assert (gradient[leaf == -torch.inf] == 0).all()
    if op is log_likelihood:
        total = torch.stack([gradient.square().sum() for gradient in gradients]).sum()
        for second in torch.autograd.grad(total, leaves):
            assert second.isfinite().all()


def test_padding_and_its_gradient_are_not_read(form: dict[str, Any]) -> None:
    hmm = random_hmm(3, 4, 3, seed=9, **form)._replace(lengths=torch.tensor([2, 0, 4]))
    padding = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    poisoned = hmm._replace(log_emission=hmm.log_emission.masked_fill(padding[..., None], torch.nan))
    for op in (log_likelihood, viterbi, forward):
        results = []
        for arguments in (hmm, poisoned):
            leaves = _leaves(arguments)
            result = _function(arguments, op)(*leaves)
            total = result if isinstance(result, Tensor) else result[1]
            results.append((total, *torch.autograd.grad(total.sum(), leaves)))
        for clean, dirty in zip(*results, strict=True):
            assert torch.equal(clean, dirty)
        assert (results[1][3][padding] == 0).all()


def test_third_derivatives_do_not_lose_their_graph() -> None:
    hmm = random_hmm(1, 3, 2, ragged=False)
    emission = hmm.log_emission.clone().requires_grad_()
    total = hmm._replace(log_emission=emission).apply(log_likelihood).sum()
    recorded = hmm._replace(log_emission=emission).apply(forward).log_likelihood.sum()

    def third(value: Tensor) -> Tensor:
        for _ in range(2):
            (value,) = torch.autograd.grad(value.sin().sum(), emission, create_graph=True)
        return torch.autograd.grad(value.sin().sum(), emission)[0]

    torch.testing.assert_close(third(total), third(recorded))


@pytest.mark.parametrize("sparse", [False, True])
def test_function_transforms_agree_with_autograd(sparse: bool) -> None:
    hmm = random_hmm(2, 4, 3, sparse=sparse, seed=6)

    def total(emission: Tensor) -> Tensor:
        return hmm._replace(log_emission=emission).apply(log_likelihood).sum()

    emission = hmm.log_emission.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(emission), emission, create_graph=True)
    expected = gradient.detach()
    torch.testing.assert_close(torch.func.grad(total)(hmm.log_emission), expected)
    direction = torch.ones_like(expected)
    tangent = torch.func.jvp(total, (hmm.log_emission,), (direction,))[1]
    torch.testing.assert_close(tangent, (expected * direction).sum())
    hessian = torch.func.hessian(total)(hmm.log_emission)
    twice = [torch.autograd.grad(x, emission, retain_graph=True)[0] for x in gradient.flatten()]
    torch.testing.assert_close(hessian.flatten(0, 2), torch.stack(twice))
    stacked = torch.stack((hmm.log_emission, hmm.log_emission + 1))
    torch.testing.assert_close(torch.func.vmap(total)(stacked), torch.stack([total(x) for x in stacked]))
    path = torch.func.vmap(lambda x: hmm._replace(log_emission=x).apply(viterbi).log_score)(stacked)
    torch.testing.assert_close(path[0], hmm.apply(viterbi).log_score)


def test_forward_mode_agrees_with_autograd() -> None:
    hmm = random_hmm(2, 4, 3, seed=6)
    emission = hmm.log_emission.clone().requires_grad_()
    (expected,) = torch.autograd.grad(
        hmm._replace(log_emission=emission).apply(log_likelihood).sum(), emission
    )
    with forward_ad.dual_level():
        ones = torch.ones_like(hmm.log_emission)
        dual = forward_ad.make_dual(hmm.log_emission, ones)  # type: ignore[no-untyped-call]  # torch does not annotate it
        total = hmm._replace(log_emission=dual).apply(log_likelihood)
        tangent = forward_ad.unpack_dual(total).tangent  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert tangent is not None
    torch.testing.assert_close(tangent.sum(), expected.sum())


# opcheck reads the gradients of the copies that it makes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_the_registered_operations_pass_opcheck(any_backend: str) -> None:
    # What the kernels keep is theirs alone, and not all of it is written: only its shape is compared.
    shapes_only = ("test_schema", "test_autograd_registration", "test_faketensor")
    hmm = _possible({"sparse": any_backend == "cpu", "densities": 2})._replace(lengths=torch.tensor([3, 3]))
    problem = canonical(*hmm)
    problem = problem._replace(
        log_initial=problem.log_initial.clone().requires_grad_(),
        log_weight=problem.log_weight.clone().requires_grad_(),
        log_emission=problem.log_emission.clone().requires_grad_(),
        log_final=problem.log_final.clone().requires_grad_(),
    )
    arguments = (*problem, True, any_backend)
    operation = torch.ops.hmm_core.log_likelihood.default
    torch.library.opcheck(operation, (*problem, False, any_backend))
    torch.library.opcheck(operation, arguments, test_utils=shapes_only)
    message = operation(*arguments)[1].detach()
    gradient = torch.ones(2, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(
        torch.ops.hmm_core.log_likelihood_backward.default, (gradient, message, *problem, True, any_backend)
    )


@pytest.mark.usefixtures("native")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", ["forward", "backward", "posterior", "expected_transitions", "viterbi"])
def test_the_other_registered_operations_pass_opcheck(name: str) -> None:
    problem = canonical(*random_hmm(2, 4, 3, sparse=True, densities=2))
    options = ("full", "cpu") if name == "viterbi" else ("cpu",)
    torch.library.opcheck(getattr(torch.ops.hmm_core, name).default, (*problem, *options))


class _Model(torch.nn.Module):
    """Sequence scores of a model that holds its transitions as a parameter."""

    def __init__(self, hmm: Arguments) -> None:
        super().__init__()
        transition = hmm.log_transition
        self.predecessors: Tensor | None
        self.register_buffer("predecessors", getattr(transition, "predecessors", None))
        weight = transition.log_weight if isinstance(transition, Sparse) else transition
        self.weight = torch.nn.Parameter(weight.clone())
        self.log_initial = torch.nn.Parameter(hmm.log_initial.clone())

    def forward(self, log_emission: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        transition = self.weight if self.predecessors is None else Sparse(self.predecessors, self.weight)
        total = log_likelihood(self.log_initial, transition, log_emission, lengths)
        states, score = viterbi(self.log_initial, transition, log_emission, lengths)
        return total, states, score


@pytest.mark.parametrize("sparse", [False, True])
def test_compiled_graphs_are_whole_and_give_the_same(sparse: bool) -> None:
    hmm = random_hmm(2, 4, 3, sparse=sparse, seed=6, dtype=torch.float32)
    model = _Model(hmm)
    # aot_eager traces forward and backward like the default compiler, without generating code.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    gradients = []
    for function in (model, compiled):
        emission = hmm.log_emission.clone().requires_grad_()
        total, states, score = function(emission, hmm.lengths)
        gradients.append(
            (
                total,
                states,
                score,
                *torch.autograd.grad((total + score).sum(), (emission, *model.parameters())),
            )
        )
    for eager, traced in zip(*gradients, strict=True):
        torch.testing.assert_close(traced, eager)


@pytest.mark.parametrize("sparse", [False, True])
def test_exported_programs_take_any_batch_and_length(sparse: bool) -> None:
    hmm = random_hmm(2, 4, 3, sparse=sparse, seed=6, dtype=torch.float32)
    model = _Model(hmm)
    B, T = torch.export.Dim("B"), torch.export.Dim("T")
    lengths = torch.tensor([4, 2])
    exported = torch.export.export(model, (hmm.log_emission, lengths), dynamic_shapes=({0: B, 1: T}, {0: B}))
    other = random_hmm(5, 9, 3, seed=1, dtype=torch.float32)
    for actual, expected in zip(
        exported.module()(other.log_emission, other.lengths),
        model(other.log_emission, other.lengths),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("op", [log_likelihood, viterbi, posterior])
def test_half_precision_computes_in_float32(dtype: torch.dtype, op: Callable[..., Any]) -> None:
    hmm = random_hmm(2, 4, 3, dtype=dtype)
    assert isinstance(hmm.log_transition, Tensor)
    assert hmm.log_final is not None
    wide = Arguments(
        hmm.log_initial.float(),
        hmm.log_transition.float(),
        hmm.log_emission.float(),
        hmm.lengths,
        hmm.log_final.float(),
    )
    torch.testing.assert_close(hmm.apply(op), wide.apply(op), rtol=0, atol=0)


def test_autocast_emissions_go_with_float32_parameters() -> None:
    hmm = random_hmm(2, 4, 3, dtype=torch.float32)
    features, weight = torch.randn(2, 4, 8), torch.randn(8, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        emission = features @ weight
        total = hmm._replace(log_emission=emission).apply(log_likelihood)
    assert emission.dtype == torch.bfloat16
    assert total.dtype == torch.float32
    total.sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_a_result_that_is_not_used_has_no_gradient() -> None:
    hmm = random_hmm()
    emission = hmm.log_emission.clone().requires_grad_()
    total = hmm._replace(log_emission=emission).apply(log_likelihood)
    (gradient,) = torch.autograd.grad(total[:0].sum(), emission)
    assert (gradient == 0).all()
