"""The network that tells a frame's state from its surroundings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hmm_align import AlignerConfig
from hmm_align._acoustic import AcousticModel
from hmm_align._corpus import Prepared
from hmm_align._features import FeatureStore
from hmm_align._network import _CONTEXT, _PIECE, NetworkTrainer, Piece, Share, learning_rate, make_network
from hmm_align._shards import Shards

CONFIG = AlignerConfig(network_epochs=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """Return the features of four utterances, noise of which nothing but the neighbourhood tells more."""
    chance = torch.Generator().manual_seed(0)
    features = FeatureStore(tmp_path, 2)
    for length in (1010, 700, 650, 400):
        features.append(torch.randn(length, 2, generator=chance), "anna")
    yield features
    features.close()


@pytest.fixture
def densities(store: FeatureStore) -> dict[int, torch.Tensor]:
    """Return what a frame is: whether the one three frames before it was positive."""
    return {number: (store.read(number)[:, 0].roll(3) > 0).to(torch.int16) for number in range(4)}


def trainer_of(
    store: FeatureStore,
    densities: dict[int, torch.Tensor],
    num_densities: int = 2,
    config: AlignerConfig = CONFIG,
) -> NetworkTrainer:
    utterances = [
        Prepared(f"u{number}", (), (), number, len(item), len(item) / 100)
        for number, item in densities.items()
    ]
    return NetworkTrainer(make_network(2, 24, num_densities), utterances, store, densities, config)


def trained(
    store: FeatureStore, densities: dict[int, torch.Tensor], epochs: int
) -> tuple[NetworkTrainer, list[float]]:
    trainer = trainer_of(store, densities)
    return trainer, [trainer.step() for _ in range(epochs)]


def test_a_network_learns_what_neighbours_tell(
    store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    trainer, losses = trained(store, densities, 30)
    assert losses[-1] < 0.3 < losses[0]
    with torch.no_grad():
        found = trainer.network(store.read(0)[None])[0].argmax(dim=1)
    assert (found == densities[0]).float().mean() > 0.9


def test_a_training_in_two_parts_is_equal_to_the_bit(
    store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    whole, _ = trained(store, densities, 4)
    first, _ = trained(store, densities, 2)
    second = trainer_of(store, densities)
    second.network.load_state_dict(first.network.state_dict())
    second.load_tensors(first.to_tensors())
    second.epoch = 2
    for _ in range(2):
        second.step()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_the_global_random_state_neither_matters_nor_changes(
    store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, _ = trained(store, densities, 1)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    two, _ = trained(store, densities, 1)
    x = torch.ones(1, 20, 2)
    assert torch.equal(one.network(x), two.network(x))


def test_pieces_have_their_context_and_zeros_outside_the_utterance(
    store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    trainer = trainer_of(store, densities)
    assert len(trainer._pieces) == 11 + 7 + 7 + 4
    assert trainer._pieces[10] == Piece("u0", 1000, 1010)
    features, targets = trainer._batch([trainer._pieces[number] for number in (0, 5, 10)])
    whole = store.read(0)
    assert torch.equal(features[1], whole[500 - _CONTEXT : 500 + _PIECE + _CONTEXT])
    assert torch.equal(targets[1], densities[0][500 : 500 + _PIECE].long())
    assert (features[0, :_CONTEXT] == 0).all()
    assert torch.equal(features[0, _CONTEXT:], whole[: _PIECE + _CONTEXT])
    assert torch.equal(features[2, : 10 + _CONTEXT], whole[1000 - _CONTEXT :])
    assert (features[2, 10 + _CONTEXT :] == 0).all()
    assert (targets[2, 10:] == -1).all()


def test_priors_are_the_shares_of_the_frames(store: FeatureStore, densities: dict[int, torch.Tensor]) -> None:
    densities = {0: torch.zeros(1010, dtype=torch.int16)}
    trainer = trainer_of(store, densities, num_densities=3)
    expected = torch.tensor([1011.0, 1.0, 1.0]) / 1013
    torch.testing.assert_close(trainer.network.log_prior.exp(), expected)


def test_few_pieces_are_passed_over_more_often(
    store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    def epochs(config: AlignerConfig) -> int:
        return trainer_of(store, densities, config=config).epochs

    assert epochs(CONFIG) == 40  # two batches, eighty updates
    assert epochs(AlignerConfig(network_epochs=50)) == 50


def test_a_share_of_all_rows_is_trained_as_a_whole_minibatch() -> None:
    x, weight = torch.randn(2, 5, 30, 2, generator=torch.Generator().manual_seed(0))
    found = []
    for share in (None, Share(list(range(5)), 5, Shards())):
        classifier = make_network(2, 24, 2).classifier.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            logits = classifier(x, share)
        (logits * weight).sum().backward()
        gradients = [parameter.grad for parameter in classifier.parameters()]
        found.append([logits.detach(), *gradients, *classifier.state_dict().values()])
    # Means and variances are summed up otherwise.
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_a_share_drops_what_its_rows_would_lose_in_the_whole_minibatch() -> None:
    x, dropout = torch.ones(5, 24, 30), torch.nn.Dropout(0.5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = dropout(x)
        torch.manual_seed(0)
        assert torch.equal(Share([1, 4], 5, Shards()).drop(dropout, x[[1, 4]]), whole[[1, 4]])


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    rates = [learning_rate(done / 10) for done in range(11)]
    assert rates[0] == 0
    assert max(rates) == rates[2] == 2e-3
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_scores_of_a_network_that_there_is_not_are_refused() -> None:
    model = AcousticModel(["a"], 2, states_per_phone=3, silence_states=3, variance_floor=0.01)
    with pytest.raises(ValueError, match="the acoustic model must have a network"):
        model.network_emission(torch.zeros(5, 2))
