"""The conventions of scikit-learn: arrays, parameters by name, clones, what a fit has found."""

import copy
import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from hmm_models import (
    CategoricalEmission,
    ContextualNeuralHMM,
    GaussianHMM,
    GaussianMixtures,
    HiddenMarkovModel,
    HMMPyTorch,
    NeuralHMM,
    PoissonEmission,
    SemiMarkovHMM,
    SequenceModel,
    Topology,
    collate_variable_length,
    create_left_to_right_matrix,
    load_model,
    phone_topology,
    save_model,
)

LENGTHS = [12, 7, 1, 20]


def sequences(seed: int = 0) -> list[np.ndarray]:
    """Draw walks of two dimensions."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal((n, 2)).cumsum(0) for n in LENGTHS]


def every_model() -> list[SequenceModel]:
    return [
        GaussianHMM(3, 2, covariance_type="full", topology=phone_topology(3)),
        HiddenMarkovModel(GaussianMixtures(3, 2, 2), topology="left_to_right"),
        HMMPyTorch(create_left_to_right_matrix(3)),
        SemiMarkovHMM(3, max_duration=9, duration="poisson"),
        NeuralHMM(3, obs_dim=2, hidden_dim=8),
        ContextualNeuralHMM(3, 2, 4, hidden_dim=8, context_per="state"),
    ]


def test_sequences_are_padded_behind_their_ends() -> None:
    rows = sequences()
    x, lengths = collate_variable_length(rows)
    assert x.shape == (4, 20, 2)
    assert x.dtype == torch.float64
    assert lengths.tolist() == LENGTHS
    for row, padded, length in zip(rows, x, LENGTHS, strict=True):
        np.testing.assert_array_equal(padded[:length], row)
        assert not padded[length:].any()
    symbols = collate_variable_length([torch.tensor([3, 1]), torch.tensor([], dtype=torch.int64)])
    assert symbols.x.tolist() == [[3, 1], [0, 0]]
    assert symbols.lengths.tolist() == [2, 0]


def test_sequences_that_disagree_are_named() -> None:
    with pytest.raises(ValueError, match="sequences must hold at least one sequence; got none"):
        collate_variable_length([])
    with pytest.raises(
        ValueError, match=r"got \(2, 3\), torch.float32 at 0 and \(2, 4\), torch.float32 at 1"
    ):
        collate_variable_length([torch.ones(2, 3), torch.ones(2, 4)])
    with pytest.raises(ValueError, match=r"torch.float64 at 1"):
        collate_variable_length([torch.ones(2, 3), np.ones((2, 3))])


def test_a_loader_of_sequences_feeds_em() -> None:
    rows = [torch.from_numpy(row) for row in sequences()]
    loader: Any = DataLoader(rows, batch_size=3, collate_fn=collate_variable_length)  # type: ignore[arg-type]
    batched, whole = GaussianHMM(2, 2).double(), GaussianHMM(2, 2).double()
    whole.initialize(*collate_variable_length(rows))
    batched.load_state_dict(whole.state_dict())
    found = batched.fit_batches(loader, max_iterations=3, initialize=False)
    expected = whole.fit(rows, max_iterations=3, initialize=False)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-12)
    assert GaussianHMM(2, 2).double().fit_batches(loader, max_iterations=1, tolerance=0.0).reports


def test_arrays_and_lists_are_taken_where_scikit_learn_gives_them() -> None:
    rows = sequences()
    x, lengths = collate_variable_length(rows)
    model, other = GaussianHMM(2, 2).double(), GaussianHMM(2, 2).double()
    expected = model.fit(x, lengths, max_iterations=3)
    assert other.fit(rows, max_iterations=3).log_likelihood == expected.log_likelihood
    assert model.score(x.numpy(), LENGTHS) == model.score(rows) == model.score(x, lengths)  # type: ignore[arg-type]  # a list serves
    assert torch.equal(model.predict(rows), model.predict(x, lengths))
    assert torch.equal(model.predict_proba(rows), model.predict_proba(x, lengths))
    frozen = x.numpy()[::-1]
    frozen.flags.writeable = False
    assert model.score(frozen[::-1]) == model.score(x)
    assert model.fit_sgd(rows, max_epochs=1).log_likelihood[0] == pytest.approx(model.score(rows), rel=0.1)
    with pytest.raises(ValueError, match="lengths must not be given with a list of sequences; got both"):
        model.score(rows, lengths)


def test_a_fit_tells_how_it_went() -> None:
    model = GaussianHMM(2, 2).double()
    with pytest.raises(AttributeError, match="history_"):
        _ = model.history_
    result = model.fit(sequences(), max_iterations=4, tolerance=0.0)
    assert model.history_.tolist() == list(result.log_likelihood)
    assert (model.n_iter_, model.converged_) == (4, False)
    assert model.fit_sgd(sequences(), max_epochs=2).log_likelihood == tuple(model.history_)
    assert model.n_iter_ == 2
    model.fit_batches(
        [collate_variable_length(sequences())] * 3, max_iterations=2, tolerance=-1e9, step_power=0.7
    )
    assert model.n_iter_ == 2


def test_parameters_come_out_as_arrays() -> None:
    model = GaussianHMM(3, 2, 2)
    assert model.startprob_.shape == (3,)
    np.testing.assert_allclose(model.transmat_.sum(1), 1.0, rtol=1e-6)
    assert model.means_.shape == model.covariances_.shape == (3, 2, 2)
    assert model.weights_.shape == (3, 2)
    model.means_[:] = 7.0
    assert not bool((model.emission.mean == 7.0).any())
    assert model.means_.dtype == np.float32
    assert not hasattr(model, "lambdas_")
    assert not hasattr(model, "emissionprob_")


@pytest.mark.parametrize(
    ("covariance_type", "one", "more"),
    [
        ("spherical", (3,), (3, 4)),
        ("diag", (3, 2), (3, 4, 2)),
        ("tied", (2, 2), (2, 2)),
        ("full", (3, 2, 2), (3, 4, 2, 2)),
    ],
)
def test_covariances_have_the_shapes_of_scikit_learn(
    covariance_type: str, one: tuple[int, ...], more: tuple[int, ...]
) -> None:
    assert GaussianHMM(3, 2, covariance_type=covariance_type).covariances_.shape == one
    assert GaussianHMM(3, 2, 4, covariance_type=covariance_type).covariances_.shape == more


def test_other_states_have_their_own_names() -> None:
    symbols = HiddenMarkovModel(CategoricalEmission(2, 5))
    np.testing.assert_allclose(symbols.emissionprob_.sum(1), 1.0, rtol=1e-6)
    counts = HiddenMarkovModel(PoissonEmission(2, 3))
    assert counts.lambdas_.shape == (2, 3)
    assert not hasattr(counts, "means_")
    assert SemiMarkovHMM(3, 2).transmat_.shape == (3, 3)


@pytest.mark.parametrize("model", every_model(), ids=lambda model: type(model).__name__)
def test_parameters_by_name_make_the_same_model(model: SequenceModel) -> None:
    again = type(model)(**copy.deepcopy(model.get_params()))
    assert repr(again) == repr(model)
    assert again.get_params().keys() == model.get_params().keys()
    assert model.set_params() is model


def test_set_params_makes_the_model_anew() -> None:
    model = GaussianHMM(2, 2).double()
    model.fit(sequences(), max_iterations=1)
    assert model.set_params(num_states=4, covariance_type="full") is model
    assert (model.num_states, model.covariance_type, model.feature_dim) == (4, "full", 2)
    assert model.means_.dtype == np.float64
    assert not hasattr(model, "history_")
    assert model.get_params()["num_states"] == 4
    before = model.state_dict()
    with pytest.raises(
        TypeError, match=r"parameters of GaussianHMM are \['covariance_type', .* got \['states'\]"
    ):
        model.set_params(states=3)
    with pytest.raises(ValueError, match="num_mixtures must be >= 1; got 0"):
        model.set_params(num_mixtures=0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_loaded_model_knows_what_is_forbidden(tmp_path: Any) -> None:
    for model in every_model()[:4]:
        model.predict(sequences())  # some learn the width of the features
        save_model(model, tmp_path / "model.safetensors")
        loaded: Any = load_model(tmp_path / "model.safetensors")
        again = type(model)(**copy.deepcopy(loaded.get_params()))
        for name in ("startprob_", "transmat_"):
            np.testing.assert_allclose(getattr(again, name), getattr(model, name), rtol=1e-6)


def test_a_class_of_ones_own_has_parameters_too() -> None:
    class Word(GaussianHMM):
        def __init__(self, word: str, *, num_states: int = 2) -> None:
            super().__init__(num_states, 2)
            self.word = word

    assert Word("one").get_params() == {"word": "one", "num_states": 2}
    assert Word("one").set_params(num_states=3).means_.shape == (3, 2)


def test_scikit_learn_clones_scores_and_searches() -> None:
    clone = pytest.importorskip("sklearn.base", reason="scikit-learn is not installed").clone
    search_in = importlib.import_module("sklearn.model_selection").GridSearchCV
    rows = sequences() * 3
    model = GaussianHMM(2, 2).double()
    model.fit(rows, max_iterations=2)
    copied = clone(model)
    assert not hasattr(copied, "history_")
    assert copied.get_params() == model.get_params()
    assert copied.means_.dtype == np.float64
    assert not np.array_equal(copied.means_, model.means_)
    for each in every_model():
        assert type(clone(each)) is type(each)
    importlib.import_module("sklearn.utils.validation").check_is_fitted(model)
    search = search_in(GaussianHMM(1, 2).double(), {"num_states": [1, 3]}, cv=3)
    search.fit(rows)
    assert search.best_params_ == {"num_states": 3}
    assert search.best_estimator_.history_[-1] == pytest.approx(search.best_estimator_.score(rows), rel=1e-9)


def test_a_copied_model_keeps_its_arguments() -> None:
    model = HiddenMarkovModel(
        GaussianMixtures(2, 1, 2), Topology.from_probabilities(torch.eye(2)[0], torch.eye(2))
    )
    copied = copy.deepcopy(model)
    assert copied.get_params()["emission"] is copied.emission
    assert isinstance(copied.get_params()["topology"].log_initial, Tensor)
