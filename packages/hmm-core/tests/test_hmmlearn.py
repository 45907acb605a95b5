"""An independent implementation finds the same likelihoods, posteriors and paths."""

import pytest
import torch

from hmm_core import expected_transitions, log_likelihood, posterior, viterbi

hmm = pytest.importorskip("hmmlearn.hmm", reason="hmmlearn is not installed (group oracle-hmm-core)")


@pytest.mark.parametrize("seed", range(5))
def test_hmmlearn_agrees(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    states, frames = 4, 60

    def rows(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64).softmax(-1)

    model = hmm.GaussianHMM(n_components=states, covariance_type="diag", implementation="log")
    model.startprob_, model.transmat_ = rows(states).numpy(), rows(states, states).numpy()
    model.means_ = torch.randn(states, 3, generator=generator).double().numpy()
    model.covars_ = (torch.rand(states, 3, generator=generator).double() + 0.5).numpy()
    lengths = [frames, frames // 3]
    features = torch.randn(sum(lengths), 3, generator=generator).double()

    emission = torch.from_numpy(model._compute_log_likelihood(features.numpy()))
    padded = torch.nn.utils.rnn.pad_sequence([emission[:frames], emission[frames:]], batch_first=True)
    arguments = (
        torch.from_numpy(model.startprob_).log(),
        torch.from_numpy(model.transmat_).log(),
        padded,
        torch.tensor(lengths),
    )
    total, state = model.score_samples(features.numpy(), lengths)
    torch.testing.assert_close(log_likelihood(*arguments).sum(), torch.tensor(total, dtype=torch.float64))
    ours = posterior(*arguments).state
    joined = torch.cat([ours[b, :length] for b, length in enumerate(lengths)])
    torch.testing.assert_close(joined, torch.from_numpy(state))
    score, path = model.decode(features.numpy(), lengths)
    best = viterbi(*arguments)
    torch.testing.assert_close(best.log_score.sum(), torch.tensor(score, dtype=torch.float64))
    assert torch.cat([best.states[b, :length] for b, length in enumerate(lengths)]).tolist() == path.tolist()
    assert expected_transitions(*arguments).sum((1, 2)).round().tolist() == [frames - 1, frames // 3 - 1]
