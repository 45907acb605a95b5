"""A trained model moved towards the recordings that it is to align."""

from collections.abc import Sequence

import torch

from hmm_models import MixtureStatistics, map_prior

from ._acoustic import AcousticModel
from ._config import AlignerConfig
from ._corpus import Prepared
from ._features import FeatureStore
from ._phones import labels_of
from ._pool import Pool
from ._shards import Shards
from ._tied import TiedModel
from ._tied_training import path_of
from ._training import Trainer

# Times that paths are searched: the first are those of a stranger.
PASSES = 3


class Adapter(Trainer[AcousticModel]):
    """Re-estimates a model on its best paths through other recordings (MAP, Gauvain and Lee 1994).

    What it was counts as so many frames of each density. The steps between states stay as they are.
    """

    def __init__(
        self,
        model: AcousticModel,
        utterances: Sequence[Prepared],
        store: FeatureStore,
        config: AlignerConfig,
        strength: float,
        shards: Shards,
        pool: Pool,
    ) -> None:
        labels = labels_of(utterances)
        super().__init__(model, utterances, store, lambda: model.scorer(labels).models, config, shards, pool)
        self._strength = strength
        self._known = map_prior(model.mixtures, strength)

    def step(self) -> None:
        """Search paths with the model as it is, and re-estimate."""
        self.iteration += 1
        self.search()
        self._update(self._statistics())

    def adapt_tied(self, tied: TiedModel) -> None:
        """Re-estimate tied states on the last paths."""
        for number, states in self.densities.items():
            context = path_of(states.long().numpy(), self.model).context
            self.densities[number] = torch.from_numpy(
                tied.trees.leaves(context[:, 0], context[:, 1:])
            ).short()
        known = map_prior(tied.mixtures, self._strength)
        tied.mixtures.update(self._statistics(tied) + known, min_occupancy=0.0)

    def _update(self, statistics: MixtureStatistics) -> None:
        """Re-estimate the mixtures."""
        self.model.mixtures.update(statistics + self._known, min_occupancy=0.0)
