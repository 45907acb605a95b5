"""The parameters of Gaussian mixtures of every covariance type: how they start, and how components split."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models.emissions._moments import UNRESOLVED
from hmm_models.emissions._splitting import split_heaviest, split_targets
from hmm_models.generation._mlpg import check_windows

# The floor of a dimension that never varies: small enough for any unit, large enough for float32.
_SMALLEST_FLOOR = 1e-10

Windows = Sequence[Sequence[float]]


class MixtureParameters(nn.Module, ABC):
    """Weights, means and covariances of P densities over D features, of at most M Gaussians each.

    The parameters are ``weight_logits`` (P, M), whose softmax are the weights and in which ``-inf`` marks a
    component that is not in use, ``mean`` (P, M, D), and what the subclass says of covariances.
    """

    variance_floor: Tensor

    def __init__(
        self, num_densities: int, num_mixtures: int, feature_dim: int, windows: Windows | None = None
    ) -> None:
        super().__init__()
        sizes = {"num_densities": num_densities, "num_mixtures": num_mixtures, "feature_dim": feature_dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be >= 1; got {size}")
        self.windows = None if windows is None else check_windows(windows, feature_dim)
        self.weight_logits = nn.Parameter(torch.zeros(num_densities, num_mixtures))
        self.mean = nn.Parameter(torch.randn(num_densities, num_mixtures, feature_dim))
        self.register_buffer("variance_floor", torch.full((feature_dim,), 1e-6))

    @classmethod
    def flat(
        cls,
        num_densities: int,
        global_mean: Tensor,
        global_variance: Tensor,
        *,
        num_mixtures: int = 1,
        variance_floor: float = 0.01,
    ) -> Self:
        """Start all densities alike, from the mean and variance of all frames (a flat start).

        Parameters
        ----------
        num_densities : int
            P.
        global_mean, global_variance : Tensor, shape (D,)
            Of all training frames; variances >= 0. Their dtype and device become the model's.
        num_mixtures : int, default 1
            Room for components; one is in use until ``split``.
        variance_floor : float, default 0.01
            Share of the global variance below which no variance may fall; see ``set_variance_floor``.

        Returns
        -------
        MixtureEmission
            With equal densities.

        Raises
        ------
        ValueError
            If shapes disagree, or a value is not finite or a variance negative.
        """
        model = cls(num_densities, num_mixtures, global_mean.shape[-1]).to(global_mean)
        model.reset_flat(global_mean, global_variance, variance_floor=variance_floor)
        return model

    @torch.no_grad()
    def reset_flat(
        self, global_mean: Tensor, global_variance: Tensor, *, variance_floor: float = 0.01
    ) -> None:
        """Make all densities alike again, as ``flat`` does.

        Parameters
        ----------
        global_mean, global_variance : Tensor, shape (D,)
            Of all training frames.
        variance_floor : float, default 0.01
            Share of the global variance below which no variance may fall.

        Raises
        ------
        ValueError
            If shapes disagree, or a value is not finite or a variance negative.
        """
        if global_mean.shape != (self.feature_dim,) or not bool(torch.isfinite(global_mean).all()):
            raise ValueError(
                f"global_mean must have shape (D,) = ({self.feature_dim},) and be finite; got {global_mean}"
            )
        self.set_variance_floor(global_variance, variance_floor)
        unresolved = UNRESOLVED * global_mean.square().to(self.variance_floor)
        self.variance_floor.copy_(self.variance_floor.maximum(unresolved))
        self.weight_logits[:, 0] = 0.0
        self.weight_logits[:, 1:] = -torch.inf
        self.mean.copy_(global_mean)
        self._reset_covariances(global_variance.to(self.variance_floor).maximum(self.variance_floor))

    @property
    def num_densities(self) -> int:
        """P."""
        return self.mean.shape[0]

    @property
    def num_mixtures(self) -> int:
        """M, the room for components in each density."""
        return self.mean.shape[1]

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.mean.shape[2]

    @property
    def num_components(self) -> Tensor:
        """Components in use, shape (P,), int64."""
        return (self.weight_logits.detach() > -torch.inf).sum(-1)

    @property
    def weight(self) -> Tensor:
        """Mixture weights, shape (P, M); 0 for a component that is not in use."""
        return log_softmax(self.weight_logits).exp()

    @property
    @abstractmethod
    def covariance(self) -> Tensor:
        """Covariances with the floor applied, in the shape of the subclass."""

    @property
    @abstractmethod
    def variance(self) -> Tensor:
        """Variances with the floor applied, shape (P, M, D)."""

    @property
    def num_parameters(self) -> int:
        """Free parameters in use, as information criteria count them."""
        components = self.num_components
        weights = int((components - (components > 0).int()).sum())
        return weights + int(components.sum()) * self.feature_dim + self._num_covariance_parameters()

    @abstractmethod
    def _num_covariance_parameters(self) -> int:
        """Free parameters of the covariances in use."""

    @abstractmethod
    def _reset_covariances(self, variance: Tensor) -> None:
        """Make all covariances diagonal, with variances (D,) not below the floor."""

    @abstractmethod
    def _set_covariance(self, covariance: Tensor) -> int:
        """Replace the covariances by others (float64) or by the floor where that is higher; count these."""

    @abstractmethod
    def _copy_covariances(self, origin: Tensor) -> None:
        """Give each component the covariance of the one (P, M) of its density that it was split from."""

    @abstractmethod
    def _deviation(self, density: Tensor, component: Tensor, direction: Tensor) -> Tensor:
        """Turn standard normal numbers (D,) or (R, D) into deviations (R, D) from the components' means."""

    def set_variance_floor(self, global_variance: Tensor, floor: float = 0.01) -> None:
        """Let no variance fall below a share of the variance of all frames.

        Parameters
        ----------
        global_variance : Tensor, shape (D,)
            Variance of all training frames, >= 0 and finite.
        floor : float, default 0.01
            The share, > 0.

        Raises
        ------
        ValueError
            If the shape, a variance or ``floor`` is out of range.

        Notes
        -----
        The floor of a dimension that never varies is 1e-10, so that it stays harmless.
        """
        if global_variance.shape != (self.feature_dim,):
            raise ValueError(
                f"global_variance must have shape (D,) = ({self.feature_dim},); "
                f"got {tuple(global_variance.shape)}"
            )
        if not bool((torch.isfinite(global_variance) & (global_variance >= 0.0)).all()):
            raise ValueError(f"global_variance must be finite and >= 0; got {global_variance.tolist()}")
        if not floor > 0.0:
            raise ValueError(f"floor must be > 0; got {floor}")
        self.variance_floor.copy_((floor * global_variance).clamp_min(_SMALLEST_FLOOR))

    @torch.no_grad()
    def set_covariance(self, covariance: Tensor) -> None:
        """Replace all covariances.

        Parameters
        ----------
        covariance : Tensor
            In the shape of the property ``covariance``; finite. What is below the floor is raised to it, see
            ``set_variance_floor``.

        Raises
        ------
        ValueError
            If the shape is another, or a value not finite.
        """
        expected = tuple(self.covariance.shape)
        if covariance.shape != expected or not bool(torch.isfinite(covariance).all()):
            raise ValueError(f"covariance must be finite and of shape {expected}; got {covariance}")
        self._set_covariance(covariance.to(self.mean.device, torch.float64))

    @torch.no_grad()
    def split(
        self,
        num_components: int | Sequence[int] | Tensor,
        occupancy: Tensor | None = None,
        *,
        power: float = 0.25,
        min_occupancy: float = 20.0,
        perturbation: float = 0.2,
    ) -> None:
        """Add components by splitting the heaviest ones.

        Parameters
        ----------
        num_components : int, or sequence of int or Tensor of shape (P,)
            Components that each density shall have; or one number, the budget of all densities together,
            which ``split_targets`` hands out by occupancy. Densities never lose components.
        occupancy : Tensor, shape (P,) or (P, M), optional
            Frames of each density, for handing out a budget; all alike if omitted.
        power, min_occupancy : float
            See ``split_targets``; only for a budget with ``occupancy``.
        perturbation : float, default 0.2
            Distance of the two halves from the component they come from, in standard deviations per
            dimension (root mean square), > 0. It halves with each further split of a half.

        Raises
        ------
        ValueError
            If shapes disagree or a target is < 1.

        Notes
        -----
        Deterministic: the heaviest component is split (the first one of equals), along a fixed
        direction. M grows when a target needs it: the parameters are then new tensors, which an
        existing optimizer does not know. The likelihood can fall a little until the next EM iteration.
        """
        target = self._split_target(num_components, occupancy, power, min_occupancy)
        self._grow(int(target.max()))
        weight, mean, origin = split_heaviest(
            self.weight.double(), self.mean.double(), target, perturbation, self._deviation
        )
        self.weight_logits.copy_(weight.log())
        self.mean.copy_(mean)
        self._copy_covariances(origin)

    def _split_target(
        self,
        num_components: int | Sequence[int] | Tensor,
        occupancy: Tensor | None,
        power: float,
        min_occupancy: float,
    ) -> Tensor:
        """Components that each density shall have, shape (P,)."""
        P = self.num_densities
        if isinstance(num_components, int):
            if occupancy is None:
                return split_targets(torch.ones(P), num_components, power=power, min_occupancy=0.0)
            frames = occupancy.sum(-1) if occupancy.ndim == 2 else occupancy
            if frames.shape != (P,):
                raise ValueError(
                    f"occupancy must have shape (P,) = ({P},) or (P, M); got {tuple(occupancy.shape)}"
                )
            return split_targets(frames, num_components, power=power, min_occupancy=min_occupancy).to(
                self.mean.device
            )
        target = torch.as_tensor(num_components, device=self.mean.device)
        if target.shape != (P,) or target.is_floating_point() or bool((target < 1).any()):
            raise ValueError(
                f"num_components must be integers >= 1 of shape (P,) = ({P},), or one budget; "
                f"got {num_components}"
            )
        return target

    def _grow(self, num_mixtures: int) -> None:
        """Make room for more components, none of them in use."""
        extra = num_mixtures - self.num_mixtures
        if extra <= 0:
            return
        P = self.num_densities
        for name, old in list(self.named_parameters(recurse=False)):
            if name in self._shared_parameters():
                continue
            filler = old[:, :1].expand(P, extra, *old.shape[2:])
            if name == "weight_logits":
                filler = torch.full_like(filler, -torch.inf)
            setattr(self, name, nn.Parameter(torch.cat([old, filler], 1), requires_grad=old.requires_grad))

    def _shared_parameters(self) -> tuple[str, ...]:
        """Names of parameters that several components share."""
        return ()

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        sizes: dict[str, Any] = {
            "num_densities": self.num_densities,
            "num_mixtures": self.num_mixtures,
            "feature_dim": self.feature_dim,
        }
        return sizes if self.windows is None else {**sizes, "windows": self.windows}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The arguments of the class.

        Returns
        -------
        MixtureEmission
            With fresh parameters.
        """
        return cls(**config)

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return ", ".join(f"{name}={size}" for name, size in self.config().items())
