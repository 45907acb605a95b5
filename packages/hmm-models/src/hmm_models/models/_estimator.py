"""The conventions of scikit-learn: parameters by name, copies without training, what a fit has found."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from hmm_models.training._em import FitResult


class Estimator(nn.Module):
    """A model that remembers the arguments it was made with, and how its last fit went."""

    history_: npt.NDArray[np.float64]
    """Log-likelihood of the data at the start of the last fit and after each update, in nats."""
    converged_: bool
    """Whether the last fit stopped by itself."""
    n_iter_: int
    """Passes over the data in the last fit."""

    _given: dict[str, Any] | None

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401  (as in the base class)
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _remembering(cls.__init__)  # type: ignore[method-assign]  # what this is about

    def _present(self) -> dict[str, Any]:
        """Arguments that make a model like this one, whose own are not known."""
        raise NotImplementedError

    def _restored(self) -> Self:
        """Forget the arguments, which stood in for parameters that come from a file."""
        self._given = None
        return self

    def _recorded(self, result: FitResult, *, stepwise: bool = False) -> FitResult:
        """Keep how a fit went under scikit-learn's names."""
        self.history_ = np.array(result.log_likelihood)
        self.converged_ = result.converged
        self.n_iter_ = len(result.log_likelihood) - (0 if stepwise else 1)
        return result

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  (scikit-learn's)
        """Arguments that this model was made with, as scikit-learn asks for them.

        Parameters
        ----------
        deep : bool, default True
            What scikit-learn says; it changes nothing.

        Returns
        -------
        dict
            Arguments of the class by name; training does not change them. Of a model that was loaded, they
            are what makes one like it: its ``topology`` is the present one.
        """
        return self._present() if self._given is None else dict(self._given)

    def set_params(self, **params: Any) -> Self:  # noqa: ANN401  (those of the class)
        """Make the model anew, untrained, with other arguments.

        Parameters
        ----------
        **params
            Arguments of the class; the others stay as ``get_params`` tells.

        Returns
        -------
        SequenceModel
            The model itself, with new parameters of its dtype and on its device.

        Raises
        ------
        TypeError
            If an argument is unknown; the message lists the known ones.
        ValueError
            If an argument is out of range; the model is then unchanged.
        """
        if params:
            known = self.get_params()
            unknown = sorted(params.keys() - known.keys())
            if unknown:
                raise TypeError(f"parameters of {type(self).__name__} are {sorted(known)}; got {unknown}")
            fresh = vars(self._made_with({**known, **params}))
            vars(self).clear()
            vars(self).update(fresh)
        return self

    def _made_with(self, params: dict[str, Any]) -> Self:
        """Make another model of the same class, dtype and device."""
        return type(self)(**params).to(next(self.parameters()))

    def __sklearn_clone__(self) -> Self:
        """Make an untrained copy: what ``sklearn.base.clone`` asks for. Parts that were given are copied."""
        return self._made_with(copy.deepcopy(self.get_params()))

    def __sklearn_is_fitted__(self) -> bool:
        """Whether the model can score: from the start, because a module has parameters."""
        return not any(nn.parameter.is_lazy(parameter) for parameter in self.parameters())

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401  (scikit-learn's, which is not imported here)
        """Tell scikit-learn, which alone calls this, that no targets are needed."""
        from sklearn.utils import InputTags, Tags, TargetTags  # noqa: PLC0415  (no dependency)

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            input_tags=InputTags(two_d_array=False, three_d_array=True, allow_nan=True),
        )


def _remembering(init: Callable[..., None]) -> Callable[..., None]:
    """Let a constructor keep its arguments; that of a subclass ends last, and its arguments stay."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def remembering(self: Estimator, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (those of the class)
        init(self, *args, **kwargs)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = dict(list(bound.arguments.items())[1:])
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given.update(given.pop(name))
        self._given = given

    return remembering


class FittedChain:
    """What a fit has found, under the names of scikit-learn and hmmlearn: copies, in arrays of numpy."""

    @property
    def startprob_(self) -> npt.NDArray[Any]:
        """Probability of starting in each state, shape (K,)."""
        return array(cast(Any, self).topology.log_initial.exp())

    @property
    def transmat_(self) -> npt.NDArray[Any]:
        """Probability of each step, shape (K, K); with explicit durations, of each change of state."""
        return array(cast(Any, self).topology.log_transition.exp())

    @property
    def means_(self) -> npt.NDArray[Any]:
        """Means of Gaussian states, shape (K, D), or (K, M, D) of mixtures."""
        return _without_mixtures(self._emission.mean, self._emission)

    @property
    def covariances_(self) -> npt.NDArray[Any]:
        """Covariances of Gaussian states.

        Shape (K,) spherical, (K, D) diag, (D, D) tied, (K, D, D) full; of mixtures (K, M), (K, M, D), (D, D)
        and (K, M, D, D), and (K, D, D) where the components of a state share one.
        """
        value, emission = self._emission.covariance, self._emission
        shared = getattr(emission, "shared", "none")
        if shared == "all":
            return array(value[0, 0])
        return array(value[:, 0]) if shared == "components" else _without_mixtures(value, emission)

    @property
    def weights_(self) -> npt.NDArray[Any]:
        """Weights of the components of each state, shape (K, M)."""
        return array(self._emission.weight)

    @property
    def emissionprob_(self) -> npt.NDArray[Any]:
        """Probability of each symbol in each state, shape (K, V)."""
        return array(self._emission.logits.softmax(-1))

    @property
    def lambdas_(self) -> npt.NDArray[Any]:
        """Rates of Poisson states, shape (K, D)."""
        return array(self._emission.log_rate.exp())

    @property
    def _emission(self) -> Any:  # noqa: ANN401  (whatever has the attribute asked for)
        """Return the emission."""
        return cast(Any, self).emission


def _without_mixtures(value: Tensor, emission: Any) -> npt.NDArray[Any]:  # noqa: ANN401  (mixtures)
    """Drop the axis of the components where there is one of them."""
    return array(value[:, 0] if getattr(emission, "num_mixtures", 0) == 1 else value)


def array(value: Tensor) -> npt.NDArray[Any]:
    """Copy values into an array."""
    return value.detach().cpu().numpy(force=True).copy()
