"""Models on disk: one safetensors file, written atomically, read without executing anything from it."""

import json
import os
import secrets
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, cast, runtime_checkable

import safetensors
import safetensors.torch
from torch import Tensor, nn

FORMAT = "pytorch-hmm"
FORMAT_VERSION = 1


class ModelFileError(ValueError):
    """A model file that cannot be read, with its path and the reason.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")


@runtime_checkable
class SavableModel(Protocol):
    """What a class needs for ``register_model``, beside being an ``nn.Module``."""

    def config(self) -> dict[str, Any]:
        """Describe what ``from_config`` needs to build the same structure, as JSON values."""
        ...

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build a model of the described structure; its tensors are replaced by the file's."""
        ...


_Model = TypeVar("_Model", bound=type[SavableModel])
_MODELS: dict[str, type[SavableModel]] = {}


def register_model(cls: _Model) -> _Model:
    """Make a class known to ``save_model`` and ``load_model`` under its name.

    A file names the class of its model, but never causes an import: only registered classes are built.

    Parameters
    ----------
    cls : type
        An ``nn.Module`` class with the methods of ``SavableModel``.

    Returns
    -------
    type
        The class itself, so that this serves as a decorator.

    Raises
    ------
    ValueError
        If another class is registered under the same name.

    Examples
    --------
    >>> from hmm_models import GaussianMixtures
    >>> register_model(GaussianMixtures) is GaussianMixtures
    True
    """
    known = _MODELS.setdefault(cls.__name__, cls)
    if known is not cls:
        raise ValueError(
            f"the name {cls.__name__!r} is taken by {known.__module__}.{known.__qualname__}; "
            f"got {cls.__module__}.{cls.__qualname__}"
        )
    return cls


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON configuration into one safetensors file, atomically.

    Parameters
    ----------
    path : str or os.PathLike
        The file; an existing one is replaced, by convention ``*.safetensors``. Its folder must exist.
    tensors : mapping of str to Tensor
        Any dtype, shape and device; views and shared storage are fine.
    config : mapping of str to JSON values
        Strings, finite numbers, booleans, None, lists and dictionaries of them.

    Raises
    ------
    TypeError
        If ``config`` holds something that JSON does not have.
    ValueError
        If ``config`` holds NaN or infinity.
    OSError
        If the file cannot be written; an existing file is then untouched.

    Notes
    -----
    The bytes go to a temporary file in the same folder, are flushed to the disk, and take the name in one
    step: a reader sees the old file or the new one, whatever happens meanwhile.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tensors(f"{folder}/a.safetensors", {"x": torch.arange(3)}, {"unit": "frames"})
    ...     load_tensors(f"{folder}/a.safetensors")
    ({'x': tensor([0, 1, 2])}, {'unit': 'frames'})
    """
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "package_version": version("hmm-models"),
        "config": json.dumps(dict(config), allow_nan=False, sort_keys=True),
    }
    # A copy each: safetensors refuses tensors that share storage.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    _replace(Path(path), safetensors.torch.save(own, metadata))


def _replace(path: Path, content: bytes) -> None:
    """Give the path new content in one step."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        # The new name itself is on the disk only once its folder is; other systems cannot open folders.
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    tensors : dict of str to Tensor
        On the CPU, bit for bit what was saved.
    config : dict
        The configuration.

    Raises
    ------
    ModelFileError
        If the file is missing, truncated, not written by ``save_tensors``, or of a newer format than this
        version of the package reads.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_tensors(f"{folder}/a.safetensors", {"x": torch.zeros(1)}, {"rate": 16000})
    ...     tensors, config = load_tensors(f"{folder}/a.safetensors")
    >>> config["rate"]
    16000
    """
    if not Path(path).is_file():
        raise ModelFileError(path, "no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            config = _read_metadata(path, metadata)
            # Copies, so that nothing depends on the file once this returns.
            return {name: file.get_tensor(name).clone() for name in file.keys()}, config  # noqa: SIM118 (no mapping)
    except safetensors.SafetensorError as error:
        raise ModelFileError(path, f"not a readable safetensors file ({error})") from error


def _read_metadata(path: str | os.PathLike[str], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Check whose file this is, and of which format; return its configuration."""
    if metadata.get("format") != FORMAT:
        raise ModelFileError(path, f"a safetensors file, but not one of {FORMAT} (no format in its metadata)")
    try:
        file_version = int(metadata["format_version"])
        config = json.loads(metadata["config"])
    except (KeyError, ValueError) as error:
        raise ModelFileError(path, f"damaged metadata ({type(error).__name__}: {error})") from error
    if file_version > FORMAT_VERSION:
        raise ModelFileError(
            path,
            f"format version {file_version}, written by hmm-models {metadata.get('package_version')}; "
            f"hmm-models {version('hmm-models')} reads up to version {FORMAT_VERSION}: update hmm-models",
        )
    if not isinstance(config, dict):
        raise ModelFileError(path, f"damaged metadata (config is a {type(config).__name__})")
    return config


def save_model(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model into one safetensors file, atomically.

    Parameters
    ----------
    model : nn.Module
        An instance of a registered class (``GaussianHMM``, ``GaussianMixtures``, ...).
    path : str or os.PathLike
        The file; an existing one is replaced.

    Raises
    ------
    TypeError
        If the class of the model is not registered.
    OSError
        If the file cannot be written; an existing file is then untouched.

    See Also
    --------
    load_model : Read it back.
    register_model : Make a class of your own savable.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from hmm_models import GaussianHMM
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(GaussianHMM(3, 13), Path(folder) / "model.safetensors")
    ...     [path.name for path in Path(folder).iterdir()]
    ['model.safetensors']
    """
    save_tensors(path, model.state_dict(), describe_model(model))


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Describe the structure of a model or of a part of it: its class and its configuration."""
    name = type(model).__name__
    if not isinstance(model, SavableModel) or type(model) is not _MODELS.get(name):
        raise TypeError(f"model must be of a registered class, one of {sorted(_MODELS)}; got {name}")
    return {"class": name, "model": model.config()}


def build_model(description: Mapping[str, Any]) -> nn.Module:
    """Build the structure that ``describe_model`` described, with fresh parameters."""
    name = description["class"]
    if name not in _MODELS:
        raise ValueError(f"the known classes are {sorted(_MODELS)}; got {name!r}")
    return cast(nn.Module, _MODELS[name].from_config(description["model"]))


def load_model(path: str | os.PathLike[str]) -> nn.Module:
    """Read a model that ``save_model`` wrote.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    nn.Module
        On the CPU, with the dtype it was saved with, bit for bit equal.

    Raises
    ------
    ModelFileError
        If the file cannot be read, holds no model, or one of an unknown class.

    Examples
    --------
    >>> import tempfile
    >>> from hmm_models import GaussianMixtures
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(GaussianMixtures(6, 2, 39), f"{folder}/phones.safetensors")
    ...     load_model(f"{folder}/phones.safetensors")
    GaussianMixtures(num_densities=6, num_mixtures=2, feature_dim=39)
    """
    tensors, config = load_tensors(path)
    name = config.get("class")
    if not isinstance(name, str) or not isinstance(config.get("model"), dict):
        raise ModelFileError(path, "holds tensors, but no model; load_tensors reads it")
    if name not in _MODELS:
        raise ModelFileError(path, f"holds a {name}; the known classes are {sorted(_MODELS)}")
    return _build(path, _MODELS[name].from_config, config["model"], tensors)


def _build(
    path: str | os.PathLike[str],
    from_config: Callable[[Mapping[str, Any]], Any],
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
) -> nn.Module:
    """Build the structure and put the tensors in, refusing a file whose two halves disagree."""
    try:
        model: nn.Module = from_config(config)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"configuration does not fit the class ({type(error).__name__}: {error})"
        raise ModelFileError(path, reason) from error
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    if expected != found:
        reason = f"tensors do not fit the configuration: needs {expected}, holds {found}"
        raise ModelFileError(path, reason)
    model.load_state_dict(dict(tensors), assign=True)
    return model
