"""The stages of a training, and what is kept of them for one that is interrupted."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from hmm_models import ModelFileError, load_tensors, save_tensors

from ._acoustic import AcousticModel
from ._corpus import Prepared, Progress
from ._features import FeatureStore
from ._network import NetworkTrainer, make_network
from ._shards import Shards
from ._tied_training import TiedTrainer
from ._training import Trainer, is_realigned

_LOGGER = logging.getLogger("hmm_align")


class Checkpoint:
    """What a training left in its folder, and where it leaves more; nothing happens without a path."""

    def __init__(
        self,
        path: Path | None,
        fingerprint: str,
        trainer: Trainer[AcousticModel],
        start: Callable[[], None],
        shards: Shards,
    ) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.epoch = 0
        # Of a training that has ended: the utterances without a path.
        self.lost: list[str] | None = None
        self._path = path
        self._fingerprint = fingerprint
        self._trainer = trainer
        self._shards = shards
        found = load_tensors(path) if shards.rank == 0 and path is not None and path.exists() else ({}, {})
        self.tensors, state = shards.gather(found)[0]
        if path is None or not state:
            start()
            return
        if state.get("fingerprint") != fingerprint:
            raise ModelFileError(
                path, "it is of another corpus, lexicon or configuration; delete it or choose another workdir"
            )
        trainer.model.load_tensors(self.tensors)
        trainer.iteration = state["iteration"]
        trainer.log_likelihood = state["log_likelihood"]
        self.epoch = state["epoch"]
        self.lost = state["lost"]
        _LOGGER.info("training goes on after iteration %d and epoch %d", trainer.iteration, self.epoch)

    def save(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """Keep the model, these tensors beside it, and how far the training has come."""
        if self._path is None or self._shards.rank > 0:
            return
        state = {
            "fingerprint": self._fingerprint,
            "iteration": self._trainer.iteration,
            "log_likelihood": self._trainer.log_likelihood,
            "epoch": epoch,
            "lost": self.lost,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(self._path, self._trainer.model.to_tensors() | tensors, state)

    def finish(self) -> None:
        """Keep what a training has come to."""
        self.lost = sorted(self._shards.joined([item.id for item in self._trainer.lost]))
        self.save({}, self.epoch)


def train_stages(
    trainer: Trainer[AcousticModel],
    kept: Checkpoint,
    utterances: Sequence[Prepared],
    store: FeatureStore,
    language: str,
    progress: Progress | None,
) -> None:
    """Train the mixtures, then what the configuration has to place the boundaries."""
    _train_mixtures(trainer, kept, progress)
    if trainer.config.acoustic == "neural":
        _train_network(trainer, utterances, store, kept, progress)
    elif trainer.config.acoustic == "triphone":
        _train_tied(trainer, utterances, store, language, progress)
    kept.finish()


def _train_mixtures(trainer: Trainer[AcousticModel], kept: Checkpoint, progress: Progress | None) -> None:
    """Iterate to the end, leaving a checkpoint before each search of paths."""
    config = trainer.config
    while trainer.iteration < config.iterations:
        trainer.step()
        if progress is not None:
            progress("training", trainer.iteration, config.iterations)
        last = trainer.iteration == config.iterations
        if config.acoustic != "monophone" if last else is_realigned(trainer.iteration + 1):
            kept.save({}, epoch=0)


def _train_tied(
    trainer: Trainer[AcousticModel],
    utterances: Sequence[Prepared],
    store: FeatureStore,
    language: str,
    progress: Progress | None,
) -> None:
    """Train the tied states of triphones from the best paths of the trained monophones.

    That takes a fraction of what these took, and is begun anew by a training that was interrupted in it.
    """
    _, _, num_frames = trainer.search()
    if not num_frames:
        return
    tied = TiedTrainer(
        trainer.model,
        utterances,
        store,
        trainer.densities,
        language,
        trainer.config,
        trainer.shards,
        trainer.pool,
    )
    _LOGGER.info("%d tied states", tied.model.num_densities)
    while tied.iteration < tied.config.iterations:
        tied.step()
        if progress is not None:
            progress("training triphones", tied.iteration, tied.config.iterations)
    trainer.model.tied = tied.model


def _train_network(
    trainer: Trainer[AcousticModel],
    utterances: Sequence[Prepared],
    store: FeatureStore,
    kept: Checkpoint,
    progress: Progress | None,
) -> None:
    """Teach a network the best paths of the trained mixtures, leaving a checkpoint before each epoch."""
    model, config = trainer.model, trainer.config
    _, _, num_frames = trainer.search()
    if not num_frames:
        return
    if model.network is None:
        model.network = make_network(model.feature_dim, config.network_channels, model.num_densities)
    network = NetworkTrainer(model.network, utterances, store, trainer.densities, config, trainer.shards)
    network.load_tensors(kept.tensors)
    network.epoch = kept.epoch
    while network.epoch < network.epochs:
        loss = network.step()
        _LOGGER.info("cross-entropy of epoch %d: %.3f", network.epoch, loss)
        if progress is not None:
            progress("training the network", network.epoch, network.epochs)
        if network.epoch < network.epochs:
            kept.save(network.to_tensors(), network.epoch)
