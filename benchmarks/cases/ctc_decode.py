"""Prefix beam search through the outputs of a CTC network with 40 symbols, beam of 16, no language model.

flashlight-text is C++, pyctcdecode Python; ours is NumPy. Labels that are about as likely are right.
"""

import sys

from _suite import Case, main

from hmm_bench import Instance

PEERS = ("flashlight_text", "pyctcdecode")

CASES = [
    Case(
        "CTC decoding",
        Instance("ctc_decode", batch=4, frames=1000, densities=40, tokens=100),
        PEERS,
        at_least=1,
        slow=PEERS,
    ),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
