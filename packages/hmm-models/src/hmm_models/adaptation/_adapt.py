"""Adaptation in one call."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from hmm_models.adaptation._adapt_cmllr import adapt_cmllr
from hmm_models.adaptation._map import adapt_map
from hmm_models.adaptation._mllr import adapt_mllr
from hmm_models.adaptation._report import Adaptation
from hmm_models.models._em_sequence_model import EMSequenceModel

_METHODS: dict[str, Callable[..., Adaptation]] = {"cmllr": adapt_cmllr, "mllr": adapt_mllr, "map": adapt_map}


def adapt(
    model: EMSequenceModel[Any, Any],
    x: Tensor,
    lengths: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    method: Literal["cmllr", "mllr", "map"] = "cmllr",
    **options: Any,  # noqa: ANN401  (those of the method, and the data)
) -> Adaptation:
    """Adapt a model to a speaker.

    Parameters
    ----------
    model : EMSequenceModel
        With Gaussian emissions. Stays as it is.
    x, lengths
        The data of one speaker, see ``SequenceModel``.
    weights : Tensor, shape (B,), optional
        Weight of each sequence, finite and >= 0; 1 if omitted.
    method : {"cmllr", "mllr", "map"}, default "cmllr"
        ``"cmllr"``: an affine transform of the features, for seconds of speech. ``"mllr"``: affine transforms
        of the means, as many as the data allow. ``"map"``: each mean for itself, for minutes.
    **options
        Those of ``adapt_cmllr``, ``adapt_mllr`` or ``adapt_map``, and what else describes the data:
        ``observed``, ``allowed`` (labels, for supervised adaptation), ``frame_weights``.

    Returns
    -------
    Adaptation
        The adapted model; the log-likelihood before and after; the transforms with their frames.

    Raises
    ------
    ValueError
        If the method is unknown, or as the method.
    TypeError
        If an option is unknown, or as the method.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> model = GaussianHMM(4, 2)
    >>> _ = torch.nn.init.normal_(model.emission.mean, std=5.0)
    >>> x = 1.5 * model.sample(50, 8).features
    >>> for method in ("cmllr", "mllr", "map"):
    ...     adaptation = adapt(model, x, method=method)
    ...     print(method, adaptation.log_likelihood[-1] > adaptation.log_likelihood[0])
    cmllr True
    mllr True
    map True
    """
    if method not in _METHODS:
        raise ValueError(f"method must be one of {tuple(_METHODS)}; got {method!r}")
    return _METHODS[method](model, x, lengths, weights, **options)
