"""A small convolutional network that tells a frame's state from its surroundings, trained on best paths."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from hmm_models import ScaledPosterior

from ._config import AlignerConfig
from ._corpus import Prepared
from ._features import FeatureStore
from ._shards import Shards

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
# What a minibatch counts in the running mean and variance of batch normalisation.
_MOMENTUM = 0.1
# Added to the frames of each density where priors are counted: none is impossible.
_PRIOR_COUNT = 1.0


class Piece(NamedTuple):
    """Frames of an utterance that count together in a minibatch."""

    id: str
    start: int
    end: int


class Share(NamedTuple):
    """The rows of a minibatch that are this process's, where several have it together."""

    rows: list[int]
    size: int  # of the minibatch
    shards: Shards

    def normalize(self, norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
        """Normalise this share (B, C, T) by the mean and variance of the whole minibatch."""
        count = self.size * x.shape[2]
        sums = torch.stack([item.sum((0, 2), dtype=torch.float64) for item in (x, x.square())])
        mean, square = self.shards.sum_tensor(sums) / count
        variance = square - mean.square()
        running = dict(norm.named_buffers())
        running["running_mean"].lerp_(mean.detach().float(), _MOMENTUM)
        running["running_var"].lerp_((variance.detach() * count / (count - 1)).float(), _MOMENTUM)
        running["num_batches_tracked"] += 1
        scale = norm.weight * torch.rsqrt(variance + norm.eps).float()
        normalized: Tensor = (x - mean.float()[:, None]) * scale[:, None] + norm.bias[:, None]
        return normalized

    def drop(self, dropout: nn.Dropout, x: Tensor) -> Tensor:
        """Drop of this share (B, C, T) what one process would."""
        weight: Tensor = dropout(x.new_ones(self.size, *x.shape[1:]))
        return x * weight[self.rows]


class FrameClassifier(nn.Module):
    """Logits (B, T, P) of the densities of each frame of features (B, T, D)."""

    def __init__(self, feature_dim: int, channels: int, num_densities: int) -> None:
        super().__init__()
        sizes = [feature_dim, *(channels for _ in _DILATIONS)]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, channels, 3, dilation=dilation, padding=dilation)
            for inputs, dilation in zip(sizes, _DILATIONS, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(channels, momentum=_MOMENTUM) for _ in _DILATIONS)
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(channels, num_densities)

    def forward(self, x: Tensor, share: Share | None = None) -> Tensor:
        """Classify every frame; in training, of a share of a minibatch if other processes have the rest."""
        x = x.transpose(1, 2)
        norms = cast("Sequence[nn.BatchNorm1d]", self.norms)
        for convolution, norm in zip(self.convolutions, norms, strict=True):
            x = torch.relu(convolution(x))
            x = self.dropout(norm(x)) if share is None else share.drop(self.dropout, share.normalize(norm, x))
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

    Of several processes each has its own utterances, and of each minibatch the pieces of these; the
    minibatches are those of one process that has all.
    """

    def __init__(
        self,
        network: ScaledPosterior,
        utterances: Sequence[Prepared],
        store: FeatureStore,
        densities: Mapping[int, Tensor],
        config: AlignerConfig,
        shards: Shards | None = None,
    ) -> None:
        self.network = network
        self.epoch = 0
        self._store = store
        self._densities = densities
        self._shards = shards or Shards()
        self._numbers = {item.id: item.number for item in utterances if item.number in densities}
        # In the order of the corpus, that of its ids; numbers are those of this process.
        lengths = [(name, len(densities[number])) for name, number in self._numbers.items()]
        self._pieces = [
            Piece(name, start, min(start + _PIECE, length))
            for name, length in sorted(self._shards.joined(lengths))
            for start in range(0, length, _PIECE)
        ]
        fewest = math.ceil(_FEWEST_UPDATES / math.ceil(len(self._pieces) / _BATCH))
        self.epochs = max(config.network_epochs, fewest)
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=_PEAK_RATE, weight_decay=_WEIGHT_DECAY, foreach=False
        )
        counts = torch.zeros(network.num_densities, dtype=torch.float64)
        for item in densities.values():
            counts += torch.bincount(item.long(), minlength=network.num_densities)
        network.set_prior(self._shards.sum_tensor(counts) + _PRIOR_COUNT)

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
                pieces = [self._pieces[piece] for piece in batch.tolist()]
                rows = [row for row, piece in enumerate(pieces) if piece.id in self._numbers]
                features, targets = self._batch([pieces[row] for row in rows])
                share = Share(rows, len(pieces), self._shards) if self._shards.number > 1 else None
                logits = self.network.classifier(features, share)[:, _CONTEXT:-_CONTEXT]
                loss = nn.functional.cross_entropy(
                    logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum"
                )
                counted = sum(piece.end - piece.start for piece in pieces)
                self._optimizer.zero_grad()
                torch.autograd.backward(loss / counted)
                self._shards.sum_gradients(self.network.parameters())
                self._optimizer.step()
                total, frames = total + float(loss.detach()), frames + counted
        self.network.eval()
        self.epoch += 1
        return sum(self._shards.gather(total)) / frames

    def _batch(self, pieces: Sequence[Piece]) -> tuple[Tensor, Tensor]:
        """Return features (B, T + 2 C, D) with their context, 0 outside the utterance, and targets (B, T)."""
        features = torch.zeros(len(pieces), _PIECE + 2 * _CONTEXT, self._store.feature_dim)
        targets = torch.full((len(pieces), _PIECE), -1, dtype=torch.int64)
        for row, (name, start, end) in enumerate(pieces):
            number = self._numbers[name]
            targets[row, : end - start] = self._densities[number][start:end].long()
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
