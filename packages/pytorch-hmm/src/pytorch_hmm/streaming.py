"""Decoding while the speech arrives: the public names of `hmm_stream`."""

from hmm_stream import *  # noqa: F403 - the point of this module
from hmm_stream import __all__  # noqa: F401 - what `import *` gives
