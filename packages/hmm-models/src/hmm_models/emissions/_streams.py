"""Observations in parts: several streams side by side, and parts that are not always there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from hmm_models._report import UpdateReport
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models._statistics import Statistics
from hmm_models._tracing import is_recorded
from hmm_models.emissions._accumulation import check_shares
from hmm_models.emissions._emission import GeneratingEmission, SamplingEmission, TrainableEmission


@dataclass(frozen=True, eq=False)
class StreamStatistics(Statistics):
    """What the M-step of several streams needs to know of the data.

    Parameters
    ----------
    streams : tuple of Statistics
        One for each stream.
    """

    streams: tuple[Statistics, ...]


@register_model
class MultiStreamEmission(nn.Module):
    r"""Streams of features with densities of their own, and a weight each.

    .. math:: \log p(x \mid p) = \sum_s w_s \log p_s(x^{(s)} \mid p)

    as in HTK and HTS: spectrum, pitch and aperiodicity side by side. With weights other than 1 this is a
    score, not a normalised density.

    Parameters
    ----------
    streams : sequence of nn.Module
        Emissions of the same number of densities.
    widths : sequence of int
        Features of each stream; they lie one after the other in the last axis of the observations.
    weights : sequence of float, optional
        Weight of each stream, finite and >= 0; 1 if omitted.

    Raises
    ------
    ValueError
        If the streams, their widths or their weights disagree.

    References
    ----------
    .. [1] S. Young et al., "The HTK book", version 3.4, 2006, section 7.1.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures, HiddenMarkovModel, MultiSpaceEmission
    >>> spectrum, pitch = GaussianMixtures(3, 2, 25), MultiSpaceEmission(GaussianMixtures(3, 1, 1))
    >>> emission = MultiStreamEmission([spectrum, pitch], [25, 2], weights=[1.0, 0.5])
    >>> model = HiddenMarkovModel(emission, topology="left_to_right")
    >>> x = torch.randn(2, 40, 27)
    >>> x[..., 25] = (x[..., 25] > 0.0).float()  # voiced or not
    >>> model.log_likelihood(x).shape
    torch.Size([2])
    """

    weights: Tensor

    def __init__(
        self, streams: Sequence[nn.Module], widths: Sequence[int], weights: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        sizes = {int(cast(Any, stream).num_densities) for stream in streams}
        if len(sizes) != 1:
            raise ValueError(f"streams must have one number of densities; got {sorted(sizes)}")
        if len(widths) != len(streams) or min(widths) < 1:
            raise ValueError(f"widths must be {len(streams)} integers >= 1; got {list(widths)}")
        factor = torch.tensor([1.0] * len(streams) if weights is None else list(weights))
        check_shares("weights", factor, "(S,)", (len(streams),))
        self.streams = nn.ModuleList(streams)
        self.widths = list(widths)
        self.register_buffer("weights", factor)

    @property
    def num_densities(self) -> int:
        """P."""
        return int(cast(Any, self.streams[0]).num_densities)

    @property
    def feature_dim(self) -> int:
        """D, of all streams together."""
        return sum(self.widths)

    @property
    def num_parameters(self) -> int:
        """Free parameters of all streams."""
        return sum(int(cast(Any, stream).num_parameters) for stream in self.streams)

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of each stream."""
        if x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) = (..., {self.feature_dim}); got {tuple(x.shape)}")
        return torch.split(x, self.widths, -1)

    def _trainable(self) -> list[TrainableEmission]:
        """Return the streams, if EM can train them."""
        return [_trainable(stream) for stream in self.streams]

    def log_prob(self, x: Tensor) -> Tensor:
        """Weighted sum of the streams' log-densities.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Features of all streams, one after the other.

        Returns
        -------
        Tensor, shape (..., P)
            A stream of weight 0 is not looked at. Differentiable.

        Raises
        ------
        ValueError
            If the last axis is not D, or a stream refuses its features.
        """
        total: Tensor | None = None
        for stream, part, weight in zip(self.streams, self._split(x), self.weights.tolist(), strict=True):
            if weight:
                score = weight * cast(Tensor, cast(Any, stream).log_prob(part))
                total = score if total is None else total + score
        return x.new_zeros((*x.shape[:-1], self.num_densities)) if total is None else total

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def zero_statistics(self, device: torch.device | None = None) -> StreamStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        StreamStatistics
            Those of each stream.
        """
        return StreamStatistics(tuple(stream.zero_statistics(device) for stream in self._trainable()))

    def accumulate(self, x: Tensor, density_posterior: Tensor) -> StreamStatistics:
        """Collect what ``update`` needs.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features of all streams.
        density_posterior : Tensor, shape (N, P)
            Share of each density in each frame, finite and >= 0.

        Returns
        -------
        StreamStatistics
            Those of each stream.
        """
        parts = zip(self._trainable(), self._split(x), strict=True)
        return StreamStatistics(tuple(stream.accumulate(part, density_posterior) for stream, part in parts))

    def update(self, statistics: StreamStatistics) -> UpdateReport:
        """Replace the parameters of each stream (M-step).

        Parameters
        ----------
        statistics : StreamStatistics
            From ``accumulate``, summed over the data.

        Returns
        -------
        UpdateReport
            Those of the streams put together.
        """
        pairs = zip(self._trainable(), statistics.streams, strict=True)
        reports = [stream.update(part) for stream, part in pairs]
        return UpdateReport(
            removed=tuple(item for report in reports for item in report.removed),
            revived=tuple(item for report in reports for item in report.revived),
            starved=tuple(sorted({item for report in reports for item in report.starved})),
            num_floored=sum(report.num_floored for report in reports),
        )

    def initialize(
        self, x: Tensor, weight: Tensor, density_index: Tensor | None, generator: torch.Generator
    ) -> None:
        """Start each stream from its features; the first one groups the frames for all if need be.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features of all streams.
        weight : Tensor, shape (N,)
            Weight of each frame, finite and > 0.
        density_index : Tensor of int64, shape (N,), or None
            The density of each frame; None lets the first stream find it.
        generator : torch.Generator
            Source of randomness.
        """
        for stream, part in zip(self._trainable(), self._split(x), strict=True):
            stream.initialize(part, weight, density_index, generator)
            if density_index is None:
                density_index = stream.log_prob(part).argmax(-1)

    def rounding(self) -> float:
        """Nats per frame that rounding the parameters may cost.

        Returns
        -------
        float
            The weighted sum over the streams.
        """
        pairs = zip(self._trainable(), self.weights.tolist(), strict=True)
        return float(sum(weight * stream.rounding() for stream, weight in pairs))

    def sample(self, density_index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw features of all streams.

        Parameters
        ----------
        density_index : Tensor of int64, shape (...)
            The density of each frame, 0..P-1.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Tensor, shape (..., D)
            One stream after the other.
        """
        drawn = [cast(SamplingEmission, stream).sample(density_index, generator) for stream in self.streams]
        return torch.cat(drawn, -1)

    def generate(self, density_index: Tensor) -> Tensor:
        """Most likely features of known densities, stream by stream.

        Parameters
        ----------
        density_index : Tensor of int64, shape (B, T)
            The density of each frame, 0..P-1; -1 behind the end.

        Returns
        -------
        Tensor, shape (B, T, S)
            As the streams give them, one after the other.
        """
        parts = [cast(GeneratingEmission, stream).generate(density_index) for stream in self.streams]
        return torch.cat(parts, -1)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The streams, their widths and weights.
        """
        return {"streams": [describe_model(stream) for stream in self.streams], "widths": self.widths}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        MultiStreamEmission
            With fresh parameters.
        """
        return cls([build_model(stream) for stream in config["streams"]], config["widths"])


@dataclass(frozen=True, eq=False)
class MultiSpaceStatistics(Statistics):
    """What the M-step of multi-space emissions needs to know of the data.

    Parameters
    ----------
    presence : Tensor of float64, shape (P, 2)
        Frames of each density without and with a value.
    value : Statistics
        Of the densities of the values.
    """

    presence: Tensor
    value: Statistics


@register_model
class MultiSpaceEmission(nn.Module):
    r"""Values that are there or not, such as the pitch of voiced and unvoiced speech (MSD).

    .. math::
        p(x \mid p) = \begin{cases}
            1 - v_p & \text{no value} \\ v_p \; p(\text{value} \mid p) & \text{a value}
        \end{cases}

    Parameters
    ----------
    value : nn.Module
        Emission of the values, with ``feature_dim`` D - 1.

    Notes
    -----
    The first feature says whether there is a value (1) or not (0); the others are the value, and are not
    read where there is none. The parameter ``presence_logit`` (P,) is the logit of :math:`v`.

    References
    ----------
    .. [1] K. Tokuda et al., "Multi-space probability distribution HMM", IEICE Transactions E85-D(3), 2002.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures, HiddenMarkovModel
    >>> x = 5.0 + torch.randn(1, 40, 2, generator=torch.Generator().manual_seed(0))
    >>> x[0, :, 0] = (torch.arange(40) < 20).float()  # a value in the first half
    >>> model = HiddenMarkovModel(MultiSpaceEmission(GaussianMixtures(2, 1, 1)), topology="left_to_right")
    >>> result = model.fit(x)
    >>> model.emission.presence_logit.sigmoid().round().tolist()
    [1.0, 0.0]
    """

    def __init__(self, value: nn.Module) -> None:
        super().__init__()
        self.value = value
        self.presence_logit = nn.Parameter(torch.zeros(int(cast(Any, value).num_densities)))

    @property
    def num_densities(self) -> int:
        """P."""
        return self.presence_logit.shape[0]

    @property
    def feature_dim(self) -> int:
        """D: one more than the values have."""
        return 1 + int(cast(Any, self.value).feature_dim)

    @property
    def num_parameters(self) -> int:
        """Free parameters."""
        return self.num_densities + int(cast(Any, self.value).num_parameters)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Whether there is a value (...), and the values (..., D - 1), 0 where there is none."""
        if x.ndim < 1 or x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) = (..., {self.feature_dim}); got {tuple(x.shape)}")
        flag = x[..., 0]
        if not is_recorded() and not bool(((flag == 0.0) | (flag == 1.0)).all()):
            where = tuple(((flag != 0.0) & (flag != 1.0)).nonzero()[0].tolist())
            raise ValueError(f"x[..., 0] must be 0 (no value) or 1; got {float(flag[where])} at {where}")
        present = flag == 1.0
        return present, x[..., 1:].masked_fill(~present.unsqueeze(-1), 0.0)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each frame under each density.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Whether there is a value, and the value.

        Returns
        -------
        Tensor, shape (..., P)
            Log-probabilities where there is no value, log-densities where there is one. Differentiable.

        Raises
        ------
        ValueError
            If the last axis is not D, the first feature not 0 or 1, or the values are refused.
        """
        present, value = self._split(x)
        density = cast(Tensor, cast(Any, self.value).log_prob(value))
        logit = self.presence_logit.to(density)
        there, absent = nn.functional.logsigmoid(logit), nn.functional.logsigmoid(-logit)
        return torch.where(present.unsqueeze(-1), density + there, absent)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def zero_statistics(self, device: torch.device | None = None) -> MultiSpaceStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        MultiSpaceStatistics
            Zeros in float64.
        """
        presence = torch.zeros((self.num_densities, 2), dtype=torch.float64, device=device)
        return MultiSpaceStatistics(presence, _trainable(self.value).zero_statistics(device))

    @torch.no_grad()
    def accumulate(self, x: Tensor, density_posterior: Tensor) -> MultiSpaceStatistics:
        """Collect what ``update`` needs.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Whether there is a value, and the value.
        density_posterior : Tensor, shape (N, P)
            Share of each density in each frame, finite and >= 0.

        Returns
        -------
        MultiSpaceStatistics
            In float64.

        Raises
        ------
        ValueError
            If shapes disagree or values are out of range.
        """
        check_shares("density_posterior", density_posterior, "(N, P)", (len(x), self.num_densities))
        present, value = self._split(x)
        share = density_posterior.double()
        flags = torch.stack([~present, present], -1).double()
        sums = _trainable(self.value).accumulate(value[present], density_posterior[present])
        return MultiSpaceStatistics(share.T @ flags, sums)

    @torch.no_grad()
    def update(self, statistics: MultiSpaceStatistics) -> UpdateReport:
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : MultiSpaceStatistics
            From ``accumulate``, summed over the data.

        Returns
        -------
        UpdateReport
            What the densities of the values did beside estimating; one that saw no values keeps its
            parameters.

        Raises
        ------
        ValueError
            If the statistics are of another shape, negative or not finite.

        Notes
        -----
        Probabilities of a value stay within 1e-6 and 1 - 1e-6, so that a density without one frame of a kind
        can still meet one.
        """
        counts = statistics.presence.to(self.presence_logit.device)
        check_shares("statistics.presence", counts, "(P, 2)", (self.num_densities, 2))
        total = counts.sum(-1)
        share = counts[:, 1] / torch.where(total > 0.0, total, 1.0)
        logit = torch.logit(share, eps=1e-6)
        self.presence_logit.copy_(torch.where(total > 0.0, logit, self.presence_logit))
        return _trainable(self.value).update(statistics.value)

    @torch.no_grad()
    def initialize(
        self, x: Tensor, weight: Tensor, density_index: Tensor | None, generator: torch.Generator
    ) -> None:
        """Start from frames whose densities are known or are to be found.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Whether there is a value, and the value.
        weight : Tensor, shape (N,)
            Weight of each frame, finite and > 0.
        density_index : Tensor of int64, shape (N,), or None
            The density of each frame; None gives the frames without a value to the last density, and lets
            the values find theirs.
        generator : torch.Generator
            Source of randomness.
        """
        P = self.num_densities
        present, value = self._split(x)
        if bool(present.any()):
            known = None if density_index is None else density_index[present]
            _trainable(self.value).initialize(value[present], weight[present], known, generator)
        if density_index is None:
            found = cast(Tensor, cast(Any, self.value).log_prob(value)).argmax(-1)
            density_index = torch.where(present, found, P - 1)
        share = nn.functional.one_hot(density_index, P).double() * weight.double().unsqueeze(-1)
        # One frame of each kind more: what a density has not seen yet is rare, not impossible.
        counts = share.T @ torch.stack([~present, present], -1).double() + 1.0
        self.presence_logit.copy_((counts[:, 1] / counts[:, 0]).log())

    def rounding(self) -> float:
        """Nats per frame that rounding the parameters may cost.

        Returns
        -------
        float
            By the densities of the values, and the limits of the probabilities of a value.
        """
        eps = torch.finfo(self.presence_logit.dtype).eps
        return 2e-6 + 20.0 * eps + _trainable(self.value).rounding()

    @torch.no_grad()
    def sample(self, density_index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw observations.

        Parameters
        ----------
        density_index : Tensor of int64, shape (...)
            The density of each frame, 0..P-1.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Tensor, shape (..., D)
            Whether there is a value, and the value, 0 where there is none.
        """
        value = cast(SamplingEmission, self.value).sample(density_index, generator)
        probability = self.presence_logit.sigmoid()[density_index]
        present = torch.bernoulli(probability, generator=generator).to(value).unsqueeze(-1)
        return torch.cat([present, value * present], -1)

    def generate(self, density_index: Tensor) -> Tensor:
        """Most likely observations of known densities: a value where one is likelier than none.

        Parameters
        ----------
        density_index : Tensor of int64, shape (B, T)
            The density of each frame, 0..P-1; -1 behind the end.

        Returns
        -------
        Tensor, shape (B, T, S)
            Whether there is a value, and the value, 0 where there is none. Each run of frames with
            values is a sequence of its own for ``value``: what smooths does not reach across a gap.
        """
        present = (self.presence_logit > 0.0)[density_index.clamp_min(0)] & (density_index >= 0)
        before = torch.nn.functional.pad(present, (1, 0))[:, :-1]
        starts = present & ~before
        frame = torch.arange(present.numel(), device=present.device).view_as(present)
        run = starts.flatten().cumsum(0).view_as(present)[present] - 1
        place = frame[present] - frame[starts][run]
        longest = int(place.max()) + 1 if len(place) else 0
        index = density_index.new_full((int(starts.sum()), longest), -1)
        index[run, place] = density_index[present]
        value = cast(GeneratingEmission, self.value).generate(index)
        result = value.new_zeros((*present.shape, 1 + value.shape[-1]))
        result[present] = torch.cat([value.new_ones(len(place), 1), value[run, place]], -1)
        return result

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The emission of the values.
        """
        return {"value": describe_model(self.value)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        MultiSpaceEmission
            With fresh parameters.
        """
        return cls(build_model(config["value"]))


def _trainable(emission: nn.Module) -> TrainableEmission:
    """Return a part, if EM can train it."""
    if not isinstance(emission, TrainableEmission):
        raise TypeError(f"{type(emission).__name__} lacks what EM needs: train by gradient descent")
    return emission
