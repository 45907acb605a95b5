"""A small convolutional network that tells a frame's state from its surroundings, trained on best paths."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hmm_models import ScaledPosterior

from ._config import AlignerConfig
from ._features import FeatureStore

# The convolutions' reach in frames to either side, one after the other.
_DILATIONS = (1, 1, 2)
_CONTEXT = sum(_DILATIONS)
# Frames of a piece of an utterance that counts in the loss, and pieces in a minibatch.
_PIECE = 100
_BATCH = 16
# A small corpus is passed over more often than the configuration says, until there are so many updates.
_FEWEST_UPDATES = 80
# The learning rate rises to its peak over this share of the updates, and falls to nothing as a cosine.
_PEAK_RATE = 2e-3
_WARM_UP = 0.2
_WEIGHT_DECAY = 1e-4
_DROPOUT = 0.1
# Added to the frames of each density where priors are counted: none is impossible.
_PRIOR_COUNT = 1.0


class FrameClassifier(nn.Module):
    """Logits (B, T, P) of the densities of each frame of features (B, T, D)."""

    def __init__(self, feature_dim: int, channels: int, num_densities: int) -> None:
        super().__init__()
        sizes = [feature_dim, *(channels for _ in _DILATIONS)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, channels, 3, dilation=dilation, padding=dilation)
            for inputs, dilation in zip(sizes, _DILATIONS, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels) for _ in _DILATIONS)
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(channels, num_densities)

    def forward(self, x: Tensor) -> Tensor:
        """Classify every frame."""
        x = x.transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self.dropout(norm(torch.relu(convolution(x))))
        logits: Tensor = self.output(x.transpose(1, 2))
        return logits


def make_network(feature_dim: int, channels: int, num_densities: int) -> ScaledPosterior:
    """Return an untrained network, always the same; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ScaledPosterior(FrameClassifier(feature_dim, channels, num_densities), num_densities).eval()


class NetworkTrainer:
    """Trains a network to tell the densities that best paths gave to frames, one epoch at a time.

    An epoch depends on the parameters, the optimiser's state and its own number alone, so that a training
    that was interrupted between two of them ends as if it had not been.
    """

    def __init__(
        self,
        network: ScaledPosterior,
        store: FeatureStore,
        densities: Mapping[int, Tensor],
        config: AlignerConfig,
    ) -> None:
        self.network = network
        self.epoch = 0
        self._store = store
        self._densities = densities
        self._pieces = [
            (number, start)
            for number in sorted(densities)
            for start in range(0, len(densities[number]), _PIECE)
        ]
        fewest = math.ceil(_FEWEST_UPDATES / math.ceil(len(self._pieces) / _BATCH))
        self.epochs = max(config.network_epochs, fewest)
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=_PEAK_RATE, weight_decay=_WEIGHT_DECAY, foreach=False
        )
        counts = torch.full((network.num_densities,), _PRIOR_COUNT, dtype=torch.float64)
        for item in densities.values():
            counts += torch.bincount(item.long(), minlength=network.num_densities)
        network.set_prior(counts)

    def step(self) -> float:
        """Train one epoch; return its mean cross-entropy."""
        order = torch.randperm(len(self._pieces), generator=torch.Generator().manual_seed(self.epoch))
        batches = torch.split(order, _BATCH)
        total, frames = 0.0, 0
        self.network.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.epoch)
            for number, batch in enumerate(batches):
                rate = learning_rate((self.epoch + (number + 0.5) / len(batches)) / self.epochs)
                for group in self._optimizer.param_groups:
                    group["lr"] = rate
                features, targets = self._batch([self._pieces[piece] for piece in batch.tolist()])
                logits = self.network.classifier(features)[:, _CONTEXT:-_CONTEXT]
                loss = nn.functional.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum"
                )
                counted = int((targets >= 0).sum())
                self._optimizer.zero_grad()
                torch.autograd.backward(loss / counted)
                self._optimizer.step()
                total, frames = total + float(loss.detach()), frames + counted
        self.network.eval()
        self.epoch += 1
        return total / frames

    def _batch(self, pieces: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Return features (B, T + 2 C, D) with their context, 0 outside the utterance, and targets (B, T)."""
        features = torch.zeros(len(pieces), _PIECE + 2 * _CONTEXT, self._store.feature_dim)
        targets = torch.full((len(pieces), _PIECE), -1, dtype=torch.int64)
        for row, (number, start) in enumerate(pieces):
            wanted = self._densities[number][start : start + _PIECE]
            targets[row, : len(wanted)] = wanted.long()
            first = max(start - _CONTEXT, 0)
            found = self._store.read(number, first, start + _PIECE + _CONTEXT)
            offset = first - start + _CONTEXT
            features[row, offset : offset + len(found)] = found
        return features, targets

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the optimiser's state, as tensors by name."""
        return {
            f"optimizer.{parameter}.{name}": value
            for parameter, values in self._optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take what ``to_tensors`` returned."""
        state = self._optimizer.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, parameter, name = key.split(".")
                state["state"].setdefault(int(parameter), {})[name] = value
        self._optimizer.load_state_dict(state)


def learning_rate(done: float) -> float:
    """Return the learning rate after a share of the training."""
    if done < _WARM_UP:
        return _PEAK_RATE * done / _WARM_UP
    return _PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
