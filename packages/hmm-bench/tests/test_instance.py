import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmm_bench import Instance, make_workload
from hmm_core import Sparse

sizes = st.integers(1, 10_000)
common = {
    "batch": sizes,
    "frames": sizes,
    "topology": st.sampled_from(["dense", "chain", "skip"]),
    "dtype": st.sampled_from(["float32", "float64"]),
    "threads": sizes,
    "seed": st.integers(),
}


@given(
    st.one_of(
        st.builds(Instance, st.sampled_from(["viterbi", "gradient"]), states=sizes, **common),
        st.builds(Instance, st.just("filter"), states=sizes, chunk=st.integers(0, 9), **common),
        st.builds(Instance, st.just("semi_markov_viterbi"), states=sizes, durations=sizes, **common),
        st.builds(Instance, st.just("ctc_loss"), densities=sizes, tokens=sizes, **common),
        st.builds(Instance, st.just("dtw"), tokens=sizes, features=st.integers(0, 99), **common),
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
        ("op=viterbi B=1 K=1", "needs op, B and T; 'op=viterbi B=1 K=1' lacks T"),
        ("op=viterbi B=1 T=1", "states must be at least 1; got 0"),
        ("op=viterbi B=1 T=1 K=1 X=3", "got 'X=3'"),
        ("op=viterbi B=1 T=1 K=1 D=3", "features is no size of viterbi; got 3"),
        ("op=filter B=1 T=1 K=1 chunk=-1", "chunk is no size of filter; got -1"),
        ("op=viterbi B=1 T=1 K=1 K=2", "got 'K=2'"),
        ("op=viterbi B=one T=1 K=1", "invalid literal"),
        ("op=kbest B=1 T=1 K=1", "op must be one of log_likelihood, .*; got 'kbest'"),
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
    assert torch.equal(workload["log_emission"], again["log_emission"])
    assert workload["log_emission"].dtype == getattr(torch, dtype)
    transition = workload.transition
    assert isinstance(transition, Sparse) == (topology != "dense")
    matrix = transition.to_dense() if isinstance(transition, Sparse) else transition
    # The last state of a chain leaves through log_final.
    leaving = workload["log_final"].exp() if topology == "chain" else torch.zeros(4, dtype=matrix.dtype)
    torch.testing.assert_close(matrix.exp().sum(1) + leaving, torch.ones(4, dtype=matrix.dtype))
    other = make_workload(Instance("viterbi", 2, 7, 4, seed=1))
    assert not torch.equal(other["log_emission"].to(matrix.dtype), again["log_emission"])
