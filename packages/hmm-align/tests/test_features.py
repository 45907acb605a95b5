"""Features on disk."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from hmm_align import AlignerConfig
from hmm_align._features import FeatureExtractor, FeatureStore
from hmm_speech import Audio

SPEAKERS = ["anna", "bob", "anna"]


@pytest.fixture
def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, 4, generator=generator) * 3 + 5 for length in (20, 7, 1)]


@pytest.fixture
def store(tmp_path: Path, features: list[torch.Tensor]) -> Iterator[FeatureStore]:
    store = FeatureStore(tmp_path / "new", 4)
    for number, (item, speaker) in enumerate(zip(features, SPEAKERS, strict=True)):
        assert store.append(item, speaker) == number
    yield store
    store.close()


def test_what_is_read_is_normalised_to_its_speaker(store: FeatureStore, features: list[torch.Tensor]) -> None:
    for mine in ([0, 2], [1]):
        heard = torch.cat([features[number] for number in mine])
        expected = (heard - heard.mean(0)) / heard.std(0, correction=0)
        # The variance is accumulated in another order.
        torch.testing.assert_close(torch.cat([store.read(number) for number in mine]), expected)


def test_utterances_can_be_read_and_added_in_any_order(store: FeatureStore) -> None:
    late = store.read(2)
    store.append(torch.ones(3, 4), "carl")
    assert torch.equal(store.read(2), late)
    assert torch.equal(store.read(3), torch.zeros(3, 4))
    assert (len(store.read(0)), len(store.read(3))) == (20, 3)


def test_a_part_is_read_as_it_stands_in_the_whole(store: FeatureStore) -> None:
    whole = store.read(0)
    assert torch.equal(store.read(0, 3, 8), whole[3:8])
    assert torch.equal(store.read(0, 15, 40), whole[15:])


def test_threads_read_at_once(store: FeatureStore) -> None:
    alone = [store.read(number) for number in range(3)]
    with ThreadPoolExecutor(4) as threads:
        numbers = [number % 3 for number in range(300)]
        for number, found in zip(numbers, threads.map(store.read, numbers), strict=True):
            assert torch.equal(found, alone[number])


def test_closing_leaves_the_file(store: FeatureStore) -> None:
    store.close()
    assert store.path.stat().st_size > 0


@pytest.mark.parametrize("period", [0.01, 0.005])
def test_frames_stand_at_multiples_of_the_period(period: float) -> None:
    extract = FeatureExtractor(AlignerConfig(frame_period=period, num_ceps=10))
    click = torch.zeros(16_000)
    click[8000] = 1.0  # at 0.5 s
    features = extract(Audio(click, 16_000))
    assert features.shape == (1 + round(1.0 / period), extract.feature_dim) == (1 + round(1.0 / period), 30)
    assert int(features[:, 0].argmax()) == round(0.5 / period)


def test_a_single_sample_has_features() -> None:
    assert FeatureExtractor(AlignerConfig())(Audio(torch.ones(1), 16_000)).isfinite().all()
