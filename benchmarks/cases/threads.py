"""hmm-core alone, with one thread and with two.

In the other cases the peers wait for their turn, some of them by spinning, which takes the second core away
from us. Here nobody else is there.
"""

import sys

import chains
import ctc
import dense
import gradient
import semi_markov
import warping
from _suite import Case, main

CASES = [
    Case(case.label, case.instance, rounds=11)
    for module in (dense, chains, gradient, semi_markov, warping, ctc)
    for case in module.CASES
    if case.instance.batch > 1
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
