"""Operations go around torch's registry only where nobody would miss them there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.profiler import profile

from hmm_core import (
    backward,
    dtw,
    entropy,
    forward,
    kbest,
    log_likelihood,
    posterior,
    sample,
    soft_dtw,
    viterbi,
)
from hmm_core.testing import random_hmm

HMM = random_hmm(2, 4, 3, sparse=True, ragged=False)
OPS: dict[str, Callable[[Tensor], Any]] = {
    "backward": lambda x: HMM._replace(log_emission=x).apply(backward),
    "dtw": lambda x: dtw(x).distance,
    "entropy": lambda x: HMM._replace(log_emission=x).apply(entropy),
    "forward": lambda x: HMM._replace(log_emission=x).apply(forward).log_alpha,
    "kbest": lambda x: HMM._replace(log_emission=x).apply(kbest, num_paths=2).states,
    "log_likelihood": lambda x: HMM._replace(log_emission=x).apply(log_likelihood),
    "posterior": lambda x: HMM._replace(log_emission=x).apply(posterior).state,
    "sample": lambda x: HMM._replace(log_emission=x).apply(sample),
    "soft_dtw": soft_dtw,
    "viterbi": lambda x: HMM._replace(log_emission=x).apply(viterbi).states,
}
pytestmark = pytest.mark.usefixtures("native")


def _names(graph: torch.fx.Graph) -> set[str]:
    """Operations of hmm-core in a graph."""
    targets = {str(node.target) for node in graph.nodes}
    return {target.split(".")[1] for target in targets if target.startswith("hmm_core.")}


# Those of warping look at the values of their results, which a tracer cannot know.
@pytest.mark.parametrize("name", [name for name in OPS if "dtw" not in name])
def test_a_tracer_sees_the_operation(name: str) -> None:
    traced = make_fx(OPS[name], tracing_mode="fake", _allow_non_fake_inputs=True)(HMM.log_emission)
    assert _names(traced.graph) == {name}


@pytest.mark.parametrize("name", OPS)
def test_without_a_tracer_the_registry_is_not_asked(name: str) -> None:
    OPS[name](HMM.log_emission)
    with profile(acc_events=True) as record:
        OPS[name](HMM.log_emission)
    assert not any(event.key.startswith("hmm_core::") for event in record.key_averages())


def test_shapes_of_results_are_known_without_values() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        emission = mode.from_tensor(HMM.log_emission)
        assert OPS["forward"](emission).shape == (2, 4, 3)
    # The mode is over, and the tensor has no memory still.
    assert OPS["viterbi"](emission).shape == (2, 4)


def test_results_are_where_the_arguments_are_whatever_the_default_device() -> None:
    def run() -> list[Tensor | None]:
        """States and paths, which do not have the dtype of the emissions."""
        paths = HMM.apply(viterbi).states, HMM.apply(kbest, num_paths=2).states
        return [*paths, dtw(HMM.log_emission).path]

    expected = run()
    with torch.device("meta"):
        actual = run()
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
