import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmm_bench import Instance, make_workload
from hmm_core import Sparse

sizes = st.integers(1, 10_000)


@given(
    st.builds(
        Instance,
        st.sampled_from(["viterbi", "log_likelihood", "posterior"]),
        sizes,
        sizes,
        sizes,
        st.sampled_from(["dense", "chain", "skip"]),
        st.sampled_from(["float32", "float64"]),
        sizes,
        st.integers(),
    )
)
def test_an_instance_reads_what_it_prints(instance: Instance) -> None:
    assert Instance.parse(str(instance)) == instance


def test_keys_may_come_in_any_order_and_defaults_may_be_missing() -> None:
    expected = Instance("viterbi", batch=1, frames=2, states=3, threads=2)
    assert Instance.parse("threads=2 K=3 T=2 B=1 op=viterbi") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("op=viterbi B=1 T=1", "needs op, B, T and K; 'op=viterbi B=1 T=1' lacks K"),
        ("op=viterbi B=1 T=1 K=1 D=3", "got 'D=3'"),
        ("op=viterbi B=1 T=1 K=1 K=2", "got 'K=2'"),
        ("op=viterbi B=one T=1 K=1", "invalid literal"),
        ("op=kbest B=1 T=1 K=1", "op must be one of viterbi, log_likelihood, posterior; got 'kbest'"),
        ("op=viterbi B=0 T=1 K=1", "batch must be at least 1; got 0"),
    ],
)
def test_what_is_not_an_instance_is_an_error(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Instance.parse(text)


@pytest.mark.parametrize("topology", ["dense", "chain", "skip"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_workload_is_a_normalised_model_and_the_same_every_time(topology: str, dtype: str) -> None:
    instance = Instance("viterbi", 2, 7, 4, topology, dtype)
    workload, again = make_workload(instance), make_workload(instance)
    assert torch.equal(workload.log_emission, again.log_emission)
    assert workload.log_emission.dtype == getattr(torch, dtype)
    transition = workload.log_transition
    assert isinstance(transition, Sparse) == (topology != "dense")
    matrix = transition.to_dense() if isinstance(transition, Sparse) else transition
    torch.testing.assert_close(matrix.exp().sum(1), torch.ones(4, dtype=matrix.dtype))
    assert not torch.equal(
        make_workload(Instance("viterbi", 2, 7, 4, seed=1)).log_emission, again.log_emission
    )
