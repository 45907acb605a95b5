"""Labels of different tools brought to one form: silence, the 39 phones of English, words."""

# CMUdict's phones by manner of articulation; a substitution inside one class is a small difference of
# transcription, across classes it is another sound.
_VOWELS = ["aa", "ae", "ah", "ao", "aw", "ay", "eh", "er", "ey", "ih", "iy", "ow", "oy", "uh", "uw"]
_STOPS = ["b", "ch", "d", "g", "jh", "k", "p", "t"]
_FRICATIVES = ["dh", "f", "hh", "s", "sh", "th", "v", "z", "zh"]
_NASALS = ["m", "n", "ng"]
_APPROXIMANTS = ["l", "r", "w", "y"]

MANNER: dict[str, int] = {
    phone: manner
    for manner, phones in enumerate((_VOWELS, _STOPS, _FRICATIVES, _NASALS, _APPROXIMANTS))
    for phone in phones
}

_SILENCE = ["", "sil", "sp", "spn", "pau", "ssil", "h#", "#", "##", "_", "brth", "epi", "q"]
_MARKUP = ["<eps>", "<sil>", "<s>", "</s>", "<unk>", "[noise]", "+spn+", "+nsn+"]
SILENCE_LABELS = frozenset(_SILENCE + _MARKUP)

_VARIANTS = {
    "ax": "ah",
    "ax-h": "ah",
    "axr": "er",
    "ix": "ih",
    "ux": "uw",
    "el": "l",
    "em": "m",
    "en": "n",
    "nx": "n",
    "eng": "ng",
    "dx": "t",
    "hv": "hh",
    "wh": "w",
    "bcl": "b",
    "dcl": "d",
    "gcl": "g",
    "kcl": "k",
    "pcl": "p",
    "tcl": "t",
}

# Marks that stand around a word in a transcript but not in an aligner's word tier.
_PUNCTUATION = (
    " \t\r\n.,;:!?\"'()[]{}-\N{EN DASH}\N{EM DASH}\N{HORIZONTAL ELLIPSIS}"
    "\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
)


def fold_phone(label: str) -> str:
    r"""Phone label of any English tool as one of CMUdict's 39 phones in lower case, silence as ``""``.

    Parameters
    ----------
    label : str
        ARPABET with or without stress (``AH0``), Kaldi's position marks (``AH0_B``), or the lower-case sets
        of TIMIT, Festival and HTS.

    Returns
    -------
    str
        A phone such as ``"ah"``; ``""`` for silence; any other label stripped and in lower case, so that
        phone sets this function does not know can still be compared with themselves.

    Notes
    -----
    * Silence: the empty label, ``sil sp spn pau ssil h# # ## _ brth epi q``, ``<eps> <sil> <s> </s> <unk>``,
      ``[noise] +spn+ +nsn+``. ``spn`` and ``<unk>`` mark words that a tool could not transcribe: no phones
      are known there. ``q``, TIMIT's glottal stop, is dropped as Lee and Hon do.
    * Reduced and syllabic variants: ``ax ax-h`` are ah; ``axr`` er; ``ix`` ih; ``ux`` uw; ``el`` l; ``em`` m;
      ``en nx`` n; ``eng`` ng; ``hv`` hh; ``wh`` w; the flap ``dx`` is t, as dictionaries write it most often.
    * TIMIT's closures ``bcl dcl gcl kcl pcl tcl`` are their stops. A closure and its release are then two
      intervals of one phone: join them with :func:`merge_closures` first.

    Stress digits are removed from these labels only: the tone of ``ma2`` stays. Lee and Hon [1]_ fold in the
    same way and further (``ao`` into aa, ``zh`` into sh, closures into silence; ``dx`` is kept): the 39 here
    are those of CMUdict.

    References
    ----------
    .. [1] K.-F. Lee and H.-W. Hon, "Speaker-independent phone recognition using hidden Markov models", IEEE
       Trans. ASSP 37(11), 1989.

    Examples
    --------
    >>> [fold_phone(label) for label in ("AH0", "ax", "AXR", "T_E", "pau", "sp")]
    ['ah', 'ah', 'er', 't', '', '']
    """
    folded = label.strip().lower()
    if folded in SILENCE_LABELS:
        return ""
    base = folded[:-2] if folded[-2:] in {"_b", "_i", "_e", "_s"} else folded
    base = base.rstrip("012") if base[-2:-1].isalpha() else base
    if base in SILENCE_LABELS:
        return ""
    base = _VARIANTS.get(base, base)
    return base if base in MANNER else folded


def fold_word(label: str) -> str:
    """Word label without case and surrounding punctuation; silence as ``""``.

    Parameters
    ----------
    label : str
        A word, or one of the silence labels that :func:`fold_phone` knows.

    Returns
    -------
    str
        The case-folded word.

    Examples
    --------
    >>> [fold_word(label) for label in ("While", "Mrs.", "don't", "<eps>")]
    ['while', 'mrs', "don't", '']
    """
    folded = label.strip().casefold()
    return "" if folded in SILENCE_LABELS else folded.strip(_PUNCTUATION)
