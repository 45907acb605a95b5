"""Affine transforms of features."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._serialization import register_model


@register_model
class AffineTransform(nn.Module):
    r"""Features :math:`A x + b`: those of a speaker made like others', or others than were measured.

    The parameters are ``weight``, :math:`A` (R, D), and ``bias``, :math:`b` (R,); gradient descent
    leaves them until ``requires_grad_()``.

    Parameters
    ----------
    weight : Tensor, shape (R, D)
        Finite.
    bias : Tensor, shape (R,), optional
        Finite; 0 if omitted.

    Raises
    ------
    ValueError
        If shapes disagree or a value is not finite.

    Notes
    -----
    A density of :math:`A x + b` is one of *x* only times :math:`|\det A|`: add ``log_det`` to its logarithm.
    ``TransformedEmission`` does. O(R D) a frame; full precision under autocast.

    Examples
    --------
    >>> import torch
    >>> halve = AffineTransform(0.5 * torch.eye(2), torch.tensor([1.0, 0.0]))
    >>> halve(torch.tensor([[2.0, 4.0]]))
    tensor([[2., 2.]])
    >>> round(halve.log_det.exp().item(), 6)
    0.25
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        if weight.ndim != 2 or not bool(torch.isfinite(weight).all()):
            raise ValueError(f"weight must have shape (R, D) and be finite; got {weight}")
        if bias is None:
            bias = weight.new_zeros(len(weight))
        if bias.shape != (len(weight),) or not bool(torch.isfinite(bias).all()):
            raise ValueError(f"bias must have shape (R,) = ({len(weight)},) and be finite; got {bias}")
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.bias = nn.Parameter(bias.detach().to(weight).clone(), requires_grad=False)

    @classmethod
    def identity(cls, feature_dim: int, dtype: torch.dtype | None = None) -> Self:
        """Leave features as they are.

        Parameters
        ----------
        feature_dim : int
            D.
        dtype : torch.dtype, optional
            Of the parameters; torch's default if omitted.

        Returns
        -------
        AffineTransform
            With the unit matrix and no bias.
        """
        return cls(torch.eye(feature_dim, dtype=dtype))

    @property
    def feature_dim(self) -> int:
        """D, of the features that are read."""
        return self.weight.shape[1]

    @property
    def output_dim(self) -> int:
        """R, of the features that come out."""
        return self.weight.shape[0]

    @property
    def log_det(self) -> Tensor:
        r"""Logarithm of :math:`|\det A|`, shape (); differentiable.

        Raises
        ------
        ValueError
            If R is not D.
        """
        self._check_square()
        value: Tensor = torch.linalg.slogdet(self.weight).logabsdet
        return value

    def forward(self, x: Tensor) -> Tensor:
        """Transform features.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Features.

        Returns
        -------
        Tensor, shape (..., R)
            In the wider dtype of ``x`` and the parameters; differentiable.

        Raises
        ------
        ValueError
            If the last axis is not D.
        """
        if x.ndim < 1 or x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) = (..., {self.feature_dim}); got {tuple(x.shape)}")
        dtype = torch.promote_types(x.dtype, self.weight.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return nn.functional.linear(x.to(dtype), self.weight.to(dtype), self.bias.to(dtype))

    @torch.no_grad()
    def compose(self, first: "AffineTransform") -> "AffineTransform":
        """Chain two transforms.

        Parameters
        ----------
        first : AffineTransform
            What comes before this one; its R is this one's D.

        Returns
        -------
        AffineTransform
            That gives ``self(first(x))``.

        Raises
        ------
        ValueError
            If the sizes do not fit.
        """
        if first.output_dim != self.feature_dim:
            raise ValueError(f"first must have {self.feature_dim} outputs; got {first.output_dim}")
        return AffineTransform(self.weight @ first.weight.to(self.weight), self(first.bias.to(self.bias)))

    @torch.no_grad()
    def inverse(self) -> "AffineTransform":
        """Undo the transform.

        Returns
        -------
        AffineTransform
            That gives *x* for ``self(x)``.

        Raises
        ------
        ValueError
            If R is not D.
        torch.linalg.LinAlgError
            If the matrix is singular.
        """
        self._check_square()
        weight = torch.linalg.inv(self.weight)
        return AffineTransform(weight, -weight @ self.bias)

    def _check_square(self) -> None:
        """Refuse what has no determinant."""
        if self.output_dim != self.feature_dim:
            raise ValueError(
                f"a transform of {self.feature_dim} features to as many has a determinant; "
                f"this one has {self.output_dim} outputs"
            )

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            Sizes.
        """
        return {"feature_dim": self.feature_dim, "output_dim": self.output_dim}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        AffineTransform
            With zeros.
        """
        return cls(torch.zeros(config["output_dim"], config["feature_dim"]))

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return ", ".join(f"{name}={size}" for name, size in self.config().items())
