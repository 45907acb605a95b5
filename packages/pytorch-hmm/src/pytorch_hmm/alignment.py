"""Alignment of speech: the public names of `hmm_align`."""

from hmm_align import *  # noqa: F403 - the point of this module
from hmm_align import __all__  # noqa: F401 - what `import *` gives
