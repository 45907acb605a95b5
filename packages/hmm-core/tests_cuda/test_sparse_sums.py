"""Sums over the paths of sparse graphs on CUDA: what the reference gives in float64, in every form."""

import pytest
import torch
from sparse_problems import CASES, INF, STRUCTURES, converted, draw, poisoned, use_form
from torch import Tensor

from hmm_core import (
    Sparse,
    backward,
    entropy,
    expected_transitions,
    forward,
    left_to_right,
    log_likelihood,
    posterior,
)
from hmm_core._validate import canonical
from hmm_core.backends.cuda.sparse import _plan
from hmm_core.testing import Arguments, enumerate_paths, random_hmm

# numpy, behind Triton's interpreter, warns of the logarithm of 0 and of differences of -inf.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

# float32 holds 24 bits: roundings of log weights of some tens, and a few of a posterior.
TOLERANCES = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.float64: {"rtol": 1e-9, "atol": 1e-11}}


def results(hmm: Arguments, backend: str) -> dict[str, Tensor]:
    """Everything that the kernels compute."""
    forwards = hmm.apply(forward, backend=backend)
    states = hmm.apply(posterior, backend=backend)
    return {
        "log_alpha": forwards.log_alpha,
        "log-likelihood of forward": forwards.log_likelihood,
        "log_beta": hmm.apply(backward, backend=backend),
        "posterior": states.state,
        "log-likelihood of posterior": states.log_likelihood,
        "expected transitions": hmm.apply(expected_transitions, backend=backend),
        "entropy": hmm.apply(entropy, backend=backend),
        **gradients(hmm, backend),
    }


def gradients(hmm: Arguments, backend: str, *, checkpoint: bool = False) -> dict[str, Tensor]:
    """Log-likelihoods, and the derivatives of a weighted sum of them."""
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    assert hmm.log_final is not None
    leaves = [hmm.log_initial, transition.log_weight, hmm.log_emission, hmm.log_final]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    moved = Arguments(
        leaves[0],
        Sparse(transition.predecessors, leaves[1]),
        leaves[2],
        hmm.lengths,
        leaves[3],
        hmm.emission_index,
    )
    total = moved.apply(log_likelihood, backend=backend, checkpoint=checkpoint)
    factor = torch.linspace(-1.0, 2.0, len(total), dtype=total.dtype, device=total.device)
    found = torch.autograd.grad((torch.where(total == -INF, 0.0, total) * factor).sum(), leaves)
    names = ("initial", "weight", "emission", "final")
    return {"log-likelihood": total.detach()} | {
        f"gradient by {name}": value for name, value in zip(names, found, strict=True)
    }


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor], rtol: float, atol: float) -> None:
    """Compare results by name, in double."""
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name].double().cpu(),
            value.double().cpu(),
            rtol=rtol,
            atol=atol,
            msg=f"{{}} of {name}".format,
        )


@pytest.mark.parametrize(("structure", "form"), CASES)
def test_every_result_is_that_of_the_reference(
    structure: str, form: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_form(monkeypatch, form)
    dtype = torch.float32 if structure in {"skips", "random"} else torch.float64
    hmm = converted(STRUCTURES[structure](False), dtype, device)
    expected = results(converted(hmm, torch.float64, torch.device("cpu")), "reference")
    assert_same(results(poisoned(hmm), "cuda"), expected, **TOLERANCES[dtype])


@pytest.mark.parametrize("form", ["one program", "pipeline"])
def test_messages_computed_again_give_the_same_derivatives(
    form: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_form(monkeypatch, form)
    hmm = converted(STRUCTURES["skips"](False), torch.float64, device)
    long = hmm._replace(log_emission=draw(1, 11, 3).to(device), lengths=None)  # two spans
    assert_same(gradients(long, "cuda", checkpoint=True), gradients(long, "cuda"), rtol=1e-12, atol=1e-13)


def test_posteriors_of_messages_that_are_too_many_to_keep_are_the_same(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    hmm = converted(STRUCTURES["ctc"](False), torch.float64, device)
    long = hmm._replace(log_emission=draw(2, 10, 4).to(device), lengths=torch.tensor([10, 4], device=device))
    kept = long.apply(posterior, backend="cuda").state
    monkeypatch.setattr(_plan, "plenty", lambda _: 0)
    torch.testing.assert_close(long.apply(posterior, backend="cuda").state, kept, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("frames", "states"), [(0, 3), (1, 3), (1, 1), (3, 1)])
def test_the_smallest_problems(frames: int, states: int, device: torch.device) -> None:
    hmm = converted(random_hmm(2, frames, states, sparse=True, ragged=False), torch.float64, device)
    expected = results(converted(hmm, torch.float64, torch.device("cpu")), "reference")
    assert_same(results(hmm, "cuda"), expected, **TOLERANCES[torch.float64])


def test_no_sequence_gives_empty_results(device: torch.device) -> None:
    hmm = converted(random_hmm(0, 4, 3, sparse=True, ragged=False), torch.float64, device)
    assert hmm.apply(posterior, backend="cuda").state.shape == (0, 4, 3)
    assert (gradients(hmm, "cuda")["gradient by weight"] == 0).all()


def test_enumeration_of_all_paths_gives_the_same(device: torch.device) -> None:
    hmm = random_hmm(2, 5, 3, sparse=True, seed=11, impossible=0.2)
    exact = enumerate_paths(hmm)
    moved = converted(hmm, torch.float64, device)
    states = moved.apply(posterior, backend="cuda")
    torch.testing.assert_close(states.state.cpu(), exact.state, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(states.log_likelihood.cpu(), exact.log_likelihood, rtol=1e-10, atol=1e-12)


def test_derivatives_are_those_by_small_steps(device: torch.device) -> None:
    chain = left_to_right(2, dtype=torch.float64).to(device)
    emission, initial, final = draw(1, 3, 2, seed=1), draw(2, seed=2), draw(2, seed=3)

    def total(initial: Tensor, weight: Tensor, emission: Tensor, final: Tensor) -> Tensor:
        """Log-likelihood as a function of what can be differentiated."""
        return log_likelihood(
            initial, Sparse(chain.predecessors, weight), emission, log_final=final, backend="cuda"
        )

    leaves = (initial, chain.log_weight, emission, final)
    moved = tuple(leaf.to(device).requires_grad_() for leaf in leaves)
    assert torch.autograd.gradcheck(total, moved, fast_mode=True)


@pytest.mark.parametrize("keep", [False, True])
def test_compiled_graphs_know_what_is_kept(keep: bool, device: torch.device) -> None:
    problem = canonical(*converted(random_hmm(2, 4, 3, sparse=True), torch.float32, device))
    torch.library.opcheck(
        torch.ops.hmm_core.log_likelihood.default, (*problem, keep, "cuda"), test_utils="test_faketensor"
    )


def test_a_sequence_with_nan_spoils_only_itself(device: torch.device) -> None:
    hmm = converted(random_hmm(3, 4, 3, sparse=True, ragged=False), torch.float32, device)
    clean = hmm.apply(log_likelihood, backend="cuda")
    for value in (torch.nan, INF):
        emission = hmm.log_emission.clone()
        emission[1, 2, 1] = value
        spoilt = hmm._replace(log_emission=emission)
        for total in (
            spoilt.apply(log_likelihood, backend="cuda"),
            spoilt.apply(forward, backend="cuda").log_likelihood,
            spoilt.apply(posterior, backend="cuda").log_likelihood,
            spoilt.apply(entropy, backend="cuda"),
        ):
            assert total.isnan().tolist() == [False, True, False]
        kept = [0, 2]
        assert torch.equal(spoilt.apply(log_likelihood, backend="cuda")[kept], clean[kept])


def test_a_length_out_of_range_gives_nan(device: torch.device) -> None:
    hmm = converted(random_hmm(3, 4, 3, sparse=True), torch.float32, device)
    wrong = hmm._replace(lengths=torch.tensor([5, 2, -1], device=device))
    assert wrong.apply(log_likelihood, backend="cuda").isnan().tolist() == [True, False, True]


def test_the_batch_changes_no_bit(device: torch.device) -> None:
    hmm = converted(STRUCTURES["ctc"](False), torch.float32, device)
    together = hmm.apply(posterior, backend="cuda")
    alone = hmm._replace(
        log_initial=hmm.log_initial[1:],
        log_transition=Sparse(hmm.log_transition.predecessors[1:], hmm.log_transition.log_weight[1:]),  # type: ignore[union-attr]
        log_emission=hmm.log_emission[1:],
        lengths=None if hmm.lengths is None else hmm.lengths[1:],
        log_final=None if hmm.log_final is None else hmm.log_final[1:],
        emission_index=None if hmm.emission_index is None else hmm.emission_index[1:],
    ).apply(posterior, backend="cuda")
    assert torch.equal(together.state[1:], alone.state)
    assert torch.equal(together.log_likelihood[1:], alone.log_likelihood)


def test_far_apart_scores_lose_nothing_in_float32(device: torch.device) -> None:
    hmm = random_hmm(1, 12, 4, sparse=True, scale=1000.0, seed=2, ragged=False)
    chain = converted(hmm._replace(log_transition=left_to_right(4)), torch.float32, device)
    exact = converted(chain, torch.float64, torch.device("cpu")).apply(posterior, backend="reference")
    found = chain.apply(posterior, backend="cuda")
    # Messages in float32 would have lost 1e-3 of a posterior: the scores are thousands apart.
    torch.testing.assert_close(found.state.cpu().double(), exact.state, rtol=0.0, atol=1e-5)
