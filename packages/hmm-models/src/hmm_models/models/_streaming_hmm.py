"""A Gaussian hidden Markov model that knows how late it may be."""

import math
from typing import Any

from hmm_models._serialization import register_model
from hmm_models.models._gaussian_hmm import GaussianHMM
from hmm_models.models._model_stream import ModelStream


@register_model
class StreamingHMM(GaussianHMM):
    r"""A ``GaussianHMM`` for streams: decisions come at most ``latency_ms`` after a frame.

    Trains and decodes whole recordings as any other model; ``stream`` decodes while they come.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    feature_dim : int
        D, >= 1.
    num_mixtures : int, default 1
        M, components per state.
    lag : int, optional
        Frames, >= 0, after which a state is decided. If omitted, when all paths agree: the path is then
        the most likely one, and no latency is guaranteed.
    chunk_size : int, default 160
        Frames, >= 1, that are pushed at once.
    frame_period_ms : float, default 10.0
        Time between two frames, > 0.
    **options
        Further arguments of ``GaussianHMM``: ``covariance_type``, ``topology`` (``"ergodic"`` unless said
        otherwise: a stream has no end), ``windows``, ``obs_dim``.

    Raises
    ------
    ValueError
        If a size is out of range or a name unknown.

    Examples
    --------
    >>> model = StreamingHMM(8, 80, lag=4, chunk_size=2)
    >>> model.latency_ms
    50.0
    >>> model.stream().lag
    4
    """

    def __init__(
        self,
        num_states: int,
        feature_dim: int | None = None,
        num_mixtures: int = 1,
        *,
        lag: int | None = None,
        chunk_size: int = 160,
        frame_period_ms: float = 10.0,
        **options: Any,  # noqa: ANN401  (of GaussianHMM)
    ) -> None:
        super().__init__(num_states, feature_dim, num_mixtures, **options)
        if lag is not None and lag < 0:
            raise ValueError(f"lag must be >= 0; got {lag}")
        if chunk_size < 1:
            raise ValueError(f"chunk_size must be >= 1; got {chunk_size}")
        if not 0.0 < frame_period_ms < math.inf:
            raise ValueError(f"frame_period_ms must be finite and > 0; got {frame_period_ms}")
        self.lag = lag
        self.chunk_size = chunk_size
        self.frame_period_ms = frame_period_ms

    @property
    def latency_ms(self) -> float:
        """How long after its end a frame's state may still be open: (chunk_size - 1 + lag) frames.

        The first frame of a chunk waits for the chunk's others, and then ``lag`` frames for its decision;
        computing is not counted. ``inf`` without ``lag``.
        """
        return math.inf if self.lag is None else (self.chunk_size - 1 + self.lag) * self.frame_period_ms

    def stream(self, lag: int | None = None, chunk_size: int | None = None) -> ModelStream:
        """Begin to listen.

        Parameters
        ----------
        lag : int, optional
            Instead of the model's.
        chunk_size : int, optional
            Instead of the model's.

        Returns
        -------
        ModelStream
            At the beginning.
        """
        return super().stream(self.lag if lag is None else lag, chunk_size or self.chunk_size)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            That of ``GaussianHMM``, and what the latency is made of.
        """
        return {
            **super().config(),
            "lag": self.lag,
            "chunk_size": self.chunk_size,
            "frame_period_ms": self.frame_period_ms,
        }
