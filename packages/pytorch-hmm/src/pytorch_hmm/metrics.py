"""Alignment and synthesis metrics: the public names of `hmm_metrics`."""

from hmm_metrics import *  # noqa: F403 - the point of this module
from hmm_metrics import __all__  # noqa: F401 - what `import *` gives
