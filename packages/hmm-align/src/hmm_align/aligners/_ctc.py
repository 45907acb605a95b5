"""Alignment, loss, decoding and segmentation with connectionist temporal classification."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hmm_core import Graph, ctc_graph, log_likelihood, pairwise_cost, posterior, viterbi

from ._arguments import (
    Reduction,
    check_alike,
    check_count,
    check_features,
    check_lengths,
    check_positive,
    check_reduction,
    refuse,
    valid,
)
from ._comparable import Projection, comparable
from ._ctc_decode import CTCHypothesis, LanguageModel, beam_search, greedy


class CTCSpans(NamedTuple):
    """Where the tokens of a batch lie.

    Attributes
    ----------
    start, end : Tensor of int64, shape (B, N)
        First frame of each token and one past its last; -1 in padding and where there is no path.
    score : Tensor, shape (B, N)
        Mean probability that the network gives the token in its frames, 0..1; 0 where there is none.
    confidence : Tensor, shape (B, N)
        Mean probability, given that the targets are right, that these frames are the token's, 0..1.
    log_score : Tensor, shape (B,)
        Log-probability of the best path; ``-inf`` where there is none.

    Examples
    --------
    >>> import torch
    >>> aligner = CTCAligner()
    >>> _ = aligner.align(torch.tensor([[1]]), torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log())
    >>> aligner.spans.start, aligner.spans.end, aligner.spans.score
    (tensor([[1]]), tensor([[2]]), tensor([[0.8000]]))
    """

    start: Tensor
    end: Tensor
    score: Tensor
    confidence: Tensor
    log_score: Tensor


class CTCSegment(NamedTuple):
    """Where an utterance lies in a long recording.

    Attributes
    ----------
    start, end : float
        Seconds, or frames: from the first frame of the first token to the last of the last one.
    score : float
        Worst mean log-probability of a frame in any stretch of ``window`` frames: near 0 where the utterance
        is in the recording, strongly negative where a part of it is not.

    Examples
    --------
    >>> segment = CTCSegment(1.2, 3.4, -0.1)
    >>> round(segment.end - segment.start, 3)
    2.2
    """

    start: float
    end: float
    score: float


class _Aligned(NamedTuple):
    """Arguments and path of the last alignment."""

    targets: Tensor  # (B, N)
    log_probs: Tensor  # (B, T, V)
    target_lengths: Tensor  # (B,)
    lengths: Tensor  # (B,)
    states: Tensor  # (B, T)
    log_score: Tensor  # (B,)


class CTCAligner(nn.Module):
    r"""Aligns labels with the outputs of a network that were trained with, or for, CTC.

    At each frame a network gives log-probabilities of V labels, one of which stands for no label (blank). A
    path gives each frame a label; it spells what is left when repetitions and then blanks are dropped.

    Parameters
    ----------
    blank_id : int
        The blank's label, 0..V-1.
    projection : callable or nn.Module, optional
        Turns text features (B, N, D1) into what audio features are compared with, (B, N, D2).
    temperature : float
        Unit, above 0, in which distances of features become log-probabilities.
    num_anchors : int
        Length of the profiles that are compared where D1 and D2 differ and there is no projection.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Without a network, :meth:`align` takes features of both sides: each token is then a label of its own,
    whose score at a frame is the negative distance of their features, and the blank's score is the mean over
    the tokens: a frame is no token's where it is further than that from those whose turn it is. Features of
    different sizes are compared as :class:`DTWAligner` does, and mean as much.

    Best paths, likelihoods and posteriors are :mod:`hmm_core`'s on its :func:`~hmm_core.ctc_graph`: O(B T N)
    time.

    References
    ----------
    .. [1] A. Graves, S. Fernández, F. Gomez and J. Schmidhuber, "Connectionist temporal classification:
       labelling unsegmented sequence data with recurrent neural networks", ICML 2006.
    .. [2] A. Hannun, A. Maas, D. Jurafsky and A. Ng, "First-pass large vocabulary continuous speech
       recognition using bi-directional recurrent DNNs", arXiv 1408.2873, 2014 (prefix beam search).
    .. [3] L. Kürzinger et al., "CTC-segmentation of large corpora for German end-to-end speech recognition",
       SPECOM 2020.

    Examples
    --------
    >>> import torch
    >>> probs = torch.tensor([[[0.1, 0.8, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.1, 0.1, 0.8]]])
    >>> aligner = CTCAligner(blank_id=0)
    >>> aligner.align(torch.tensor([[1, 2]]), probs.log())
    tensor([[[1., 0., 0., 0.],
             [0., 0., 1., 1.]]])
    >>> aligner.spans.start, aligner.spans.end
    (tensor([[0, 2]]), tensor([[1, 4]]))
    >>> aligner.get_ctc_loss()
    tensor(0.1999)
    >>> aligner.decode(beam_width=4)[0][0].tokens
    (1, 2)
    """

    def __init__(
        self,
        blank_id: int = 0,
        *,
        projection: Projection | None = None,
        temperature: float = 1.0,
        num_anchors: int = 16,
    ) -> None:
        super().__init__()
        if type(blank_id) is not int or blank_id < 0:
            raise ValueError(f"blank_id must be an integer of 0 or more; got {blank_id!r}")
        self.blank_id = blank_id
        self.projection = projection
        self.temperature = check_positive("temperature", temperature)
        self.num_anchors = check_count("num_anchors", num_anchors)
        self._last: _Aligned | None = None

    def align(
        self,
        targets: Tensor,
        log_probs: Tensor,
        target_lengths: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Find the best path of each sequence of labels.

        Parameters
        ----------
        targets : Tensor of int64, shape (B, N), or of floating dtype, shape (B, N, D1)
            Labels, 0..V-1 and not ``blank_id``; or features of the tokens.
        log_probs : Tensor, shape (B, T, V), or (B, T, D2) where ``targets`` are features
            Log-probabilities of the labels at each frame, which torch's CTC loss takes with another order of
            axes; or features of the frames.
        target_lengths, lengths : Tensor of int64, shape (B,), optional
            Labels and frames of each sequence, 0..N and 0..T; what lies behind is never read. All if omitted.

        Returns
        -------
        Tensor, shape (B, N, T)
            1 where a frame is a token's, 0 elsewhere; frames of the blank are no token's. All 0 where there
            is no path, because the labels need more frames than there are. :attr:`spans` has the same as
            numbers.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If shapes or devices disagree, a length or label is out of range, or a log-probability that is
            read is NaN or ``+inf``.
        """
        targets, log_probs, target_lengths, lengths = self._prepared(
            targets, log_probs, target_lengths, lengths
        )
        graph = self._graph(targets, target_lengths, log_probs.dtype)
        path = viterbi(
            graph.log_initial,
            graph.log_transition,
            log_probs.detach(),
            lengths,
            log_final=graph.log_final,
            emission_index=graph.emission_index,
        )
        self._last = _Aligned(targets, log_probs, target_lengths, lengths, path.states, path.log_score)
        alignment = log_probs.new_zeros(len(targets), targets.shape[1], log_probs.shape[1])
        sequence, frame = (path.states % 2 == 1).nonzero(as_tuple=True)
        odd = path.states[sequence, frame]
        alignment[sequence[odd >= 0], odd[odd >= 0] // 2, frame[odd >= 0]] = 1.0
        return alignment

    def forward(
        self,
        targets: Tensor,
        log_probs: Tensor,
        target_lengths: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Do what :meth:`align` does.

        Parameters
        ----------
        targets, log_probs : Tensor
            Labels and log-probabilities, or features of both.
        target_lengths, lengths : Tensor of int64, shape (B,), optional
            Labels and frames of each sequence.

        Returns
        -------
        Tensor, shape (B, N, T)
            The alignment.
        """
        return self.align(targets, log_probs, target_lengths, lengths)

    @property
    def spans(self) -> CTCSpans:
        """Where the tokens of the last alignment lie, with scores and confidences.

        Raises
        ------
        RuntimeError
            If nothing has been aligned.
        """
        last = self._required("spans")
        B, N = last.targets.shape
        odd = (last.states >= 0) & (last.states % 2 == 1)
        token = torch.where(odd, last.states // 2, N)  # N gathers the frames of no token
        frame = torch.arange(last.states.shape[1], device=last.states.device).expand_as(last.states)
        beyond = last.states.shape[1]
        empty = last.states.new_full((B, N + 1), beyond)
        start = empty.scatter_reduce(1, token, frame, "amin")[:, :N]
        end = (empty - beyond).scatter_reduce(1, token, frame + 1, "amax")[:, :N]
        count = (end - start).clamp(min=1)

        def mean(probability: Tensor) -> Tensor:
            """Average (B, T) over the frames of each token."""
            total = probability.new_zeros(B, N + 1).scatter_add(1, token, probability)
            return (total[:, :N] / count).clamp(0.0, 1.0)

        log_probs = last.log_probs.detach()
        graph = self._graph(last.targets, last.target_lengths, log_probs.dtype)
        state = last.states.clamp(min=0)
        label = graph.emission_index.gather(1, state)
        given = torch.where(odd, log_probs.gather(2, label[..., None])[..., 0], 0.0).exp()
        states = posterior(
            graph.log_initial,
            graph.log_transition,
            log_probs,
            last.lengths,
            log_final=graph.log_final,
            emission_index=graph.emission_index,
        ).state
        sure = torch.where(odd, states.gather(2, state[..., None])[..., 0], 0.0)
        found = end > 0
        return CTCSpans(
            torch.where(found, start, -1),
            torch.where(found, end, -1),
            torch.where(found, mean(given), 0.0),
            torch.where(found, mean(sure), 0.0),
            last.log_score,
        )

    def get_ctc_loss(self, reduction: Reduction = "mean", *, zero_infinity: bool = False) -> Tensor:
        """Return the CTC loss of what was aligned last.

        Parameters
        ----------
        reduction : {"mean", "sum", "none"}
            Over the sequences; "mean" divides each loss by its number of labels first, as torch does.
        zero_infinity : bool
            Whether a sequence without a path counts 0 instead of ``+inf``.

        Returns
        -------
        Tensor, shape () or (B,)
            The loss, as :meth:`loss` computes it. Differentiable.

        Raises
        ------
        RuntimeError
            If nothing has been aligned.
        ValueError
            If the reduction is unknown.
        """
        return self._loss(*self._required("get_ctc_loss")[:4], reduction, zero_infinity)

    def loss(
        self,
        targets: Tensor,
        log_probs: Tensor,
        target_lengths: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        reduction: Reduction = "mean",
        zero_infinity: bool = False,
    ) -> Tensor:
        r"""Compute the CTC loss without aligning.

        .. math:: -\log p(\text{targets} \mid x) = -\log \sum_\pi \prod_t p(\pi_t \mid x_t)

        over the paths :math:`\pi` that spell the targets.

        Parameters
        ----------
        targets, log_probs : Tensor
            Labels and log-probabilities, or features of both, as for :meth:`align`.
        target_lengths, lengths : Tensor of int64, shape (B,), optional
            Labels and frames of each sequence. All if omitted.
        reduction : {"mean", "sum", "none"}
            Over the sequences; "mean" divides each loss by its number of labels first, as torch does.
        zero_infinity : bool
            Whether a sequence without a path counts 0 instead of ``+inf``; its gradient is 0 in both cases.

        Returns
        -------
        Tensor, shape () or (B,)
            The loss of ``torch.nn.functional.ctc_loss``. Differentiable.

        Raises
        ------
        TypeError, ValueError
            As :meth:`align` does, and if the reduction is unknown.

        Notes
        -----
        The gradient by ``log_probs`` is that of the formula. torch's is that of the loss after another
        ``log_softmax``; by the scores before a ``log_softmax`` the two are equal.
        """
        prepared = self._prepared(targets, log_probs, target_lengths, lengths)
        return self._loss(*prepared, reduction, zero_infinity)

    def _loss(
        self,
        targets: Tensor,
        log_probs: Tensor,
        target_lengths: Tensor,
        lengths: Tensor,
        reduction: Reduction,
        zero_infinity: bool,
    ) -> Tensor:
        """Compute the loss of checked arguments."""
        check_reduction(reduction)
        graph = self._graph(targets, target_lengths, log_probs.dtype)
        loss = -log_likelihood(
            graph.log_initial,
            graph.log_transition,
            log_probs,
            lengths,
            log_final=graph.log_final,
            emission_index=graph.emission_index,
        )
        if zero_infinity:
            loss = torch.where(loss == torch.inf, 0.0, loss)
        if reduction == "none":
            return loss
        return (loss / target_lengths.clamp(min=1)).mean() if reduction == "mean" else loss.sum()

    def decode(
        self,
        beam_width: int = 10,
        log_probs: Tensor | None = None,
        lengths: Tensor | None = None,
        *,
        language_model: LanguageModel | None = None,
        lm_weight: float = 1.0,
        token_bonus: float = 0.0,
    ) -> list[list[CTCHypothesis]]:
        """Find the most probable labels by prefix beam search.

        Parameters
        ----------
        beam_width : int
            Prefixes that are kept after each frame, at least 1. With 1, no language model and no bonus, the
            labels of the best path (greedy decoding).
        log_probs : Tensor, shape (B, T, V), optional
            Log-probabilities of the labels at each frame; those that were aligned last if omitted.
        lengths : Tensor of int64, shape (B,), optional
            Frames of each sequence. All if omitted.
        language_model : callable, optional
            Takes a prefix, a tuple of labels, and returns the log-probability of each label to come next,
            (V,); the blank's is not used. It is asked once for each prefix that comes into the beam.
        lm_weight : float
            Weight, 0 or more, of the language model's log-probabilities.
        token_bonus : float
            Added for each label: above 0 it makes up for the cost of a language model.

        Returns
        -------
        list of list of CTCHypothesis
            For each sequence up to ``beam_width`` hypotheses, the best first; none where nothing is possible.

        Raises
        ------
        RuntimeError
            If ``log_probs`` is omitted and nothing has been aligned.
        TypeError
            If an argument has the wrong type.
        ValueError
            If shapes disagree, an argument is out of range, or a log-probability is NaN or ``+inf``.

        Notes
        -----
        Every path through prefixes in the beam is counted once: two ways to one prefix are summed, also where
        it had left the beam in between. Computed in float64 on the CPU; of equally good prefixes the one that
        was there first wins. A frame costs some array operations of beam_width * V numbers at most; labels
        that cannot enter a full beam are left out beforehand.
        """
        beam_width = check_count("beam_width", beam_width)
        for name, number in (("lm_weight", lm_weight), ("token_bonus", token_bonus)):
            if not np.isfinite(number):
                raise ValueError(f"{name} must be a finite number; got {number!r}")
        if lm_weight < 0:
            raise ValueError(f"lm_weight must be 0 or more; got {lm_weight!r}")
        if log_probs is None:
            last = self._required("decode without log_probs")
            log_probs, lengths = last.log_probs, last.lengths if lengths is None else lengths
        log_probs, lengths = self._checked_probs(log_probs, lengths)
        scores = log_probs.detach().double().cpu().numpy()
        plain = language_model is None or lm_weight == 0
        found = []
        for sequence, length in zip(scores, lengths.tolist(), strict=True):
            if beam_width == 1 and plain and token_bonus == 0:
                best = greedy(sequence[:length], self.blank_id)
                found.append([best] if best.score > -np.inf else [])
            else:
                model = None if plain else language_model
                found.append(
                    beam_search(sequence[:length], self.blank_id, beam_width, model, lm_weight, token_bonus)
                )
        return found

    def segment(
        self,
        log_probs: Tensor,
        utterances: Sequence[Sequence[int]],
        *,
        frame_period: float = 1.0,
        window: int = 30,
    ) -> list[CTCSegment]:
        r"""Find utterances, in order, in one long recording that may hold more than them.

        Before, between and after the utterances frames may be skipped. A skipped frame scores like its best
        label, so that the best path gives to an utterance what sounds like it and has no wish to skip the
        rest.

        Parameters
        ----------
        log_probs : Tensor, shape (T, V)
            Log-probabilities of the labels at each frame of the recording.
        utterances : sequence of sequence of int
            Labels of each utterance, 0..V-1 and not ``blank_id``; none may be empty.
        frame_period : float
            Seconds between frames, in which times are given. Frames if omitted.
        window : int
            Frames over which scores are averaged, at least 1.

        Returns
        -------
        list of CTCSegment
            ``start``, ``end`` and ``score`` of each utterance.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If an utterance is empty, a label is out of range, or the labels need more frames than there are.

        Notes
        -----
        O(T N) time for N labels in all, and for long recordings memory that grows with :math:`\sqrt T N`
        (:func:`hmm_core.viterbi`). In the paper a skipped frame costs nothing, which makes utterances short
        where the network is unsure.

        References
        ----------
        .. [1] L. Kürzinger et al., "CTC-segmentation of large corpora for German end-to-end speech
           recognition", SPECOM 2020.

        Examples
        --------
        Two utterances of two labels, with something else (3) before and after them:

        >>> import torch
        >>> heard = torch.tensor([3, 3, 0, 1, 2, 0, 0, 2, 1, 0, 3])
        >>> log_probs = torch.nn.functional.one_hot(heard, 4).float().mul(9).log_softmax(-1)
        >>> for segment in CTCAligner().segment(log_probs, [[1, 2], [2, 1]]):
        ...     print(segment.start, segment.end, round(segment.score, 3))
        3.0 5.0 -0.0
        7.0 9.0 -0.0
        """
        log_probs = check_features("log_probs", log_probs, "(T, V)", axes=2)
        frame_period, window = check_positive("frame_period", frame_period), check_count("window", window)
        for number, labels in enumerate(utterances):
            if not len(labels):
                raise ValueError(f"utterances must not be empty; utterance {number} has no label")
        if not len(utterances):
            return []
        scores, _ = self._checked_probs(log_probs.detach()[None], None)
        joined = torch.tensor([[int(label) for labels in utterances for label in labels]])
        targets, _ = self._checked_labels(joined, None, scores)
        last = torch.tensor([len(labels) for labels in utterances]).cumsum(0)
        graph = self._graph(targets, None, scores.dtype)
        # The blanks at the ends of utterances stand for anything: one more density, the best label's score.
        index = graph.emission_index[0].clone()
        index[2 * torch.nn.functional.pad(last, (1, 0)).to(index.device)] = scores.shape[2]
        path = viterbi(
            graph.log_initial[0],
            graph.log_transition,
            torch.cat((scores, scores.amax(-1, keepdim=True)), -1),
            log_final=graph.log_final[0],
            emission_index=index,
        )
        states = path.states[0]
        if float(path.log_score[0]) == -torch.inf:
            raise ValueError(
                f"utterances must fit into the recording: they have {int(last[-1])} labels, log_probs "
                f"(T, V) = {tuple(log_probs.shape)}"
            )
        along = scores[0].gather(1, torch.where(states % 2 == 1, index[states], self.blank_id)[:, None])[:, 0]
        utterance = torch.bucketize(states // 2, last.to(states.device), right=True)
        along, utterance, odd = along.double().cpu(), utterance.cpu(), (states % 2 == 1).cpu()
        found = []
        for number in range(len(utterances)):
            frames = ((utterance == number) & odd).nonzero()[:, 0]
            first, end = int(frames[0]), int(frames[-1]) + 1
            score = _worst_stretch(along[first:end], window)
            found.append(CTCSegment(first * frame_period, end * frame_period, score))
        return found

    def _required(self, what: str) -> _Aligned:
        """Return the last alignment."""
        if self._last is None:
            raise RuntimeError(f"{what} needs an alignment: call align first")
        return self._last

    def _graph(self, targets: Tensor, target_lengths: Tensor | None, dtype: torch.dtype) -> Graph:
        """Return the graph of labels (B, N)."""
        return ctc_graph(targets, target_lengths, blank=self.blank_id, dtype=dtype)

    def _checked_probs(self, log_probs: object, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Check log-probabilities (B, T, V) and fill in the lengths."""
        log_probs = check_features("log_probs", log_probs, "(B, T, V)")
        V = log_probs.shape[2]
        if self.blank_id >= V:
            raise ValueError(f"log_probs must have V above blank_id = {self.blank_id} labels; got {V}")
        lengths = check_lengths("lengths", lengths, log_probs, log_probs.shape[1], "T")
        read = valid(lengths, log_probs.shape[1])[..., None]
        wrong = read & (log_probs.isnan() | (log_probs == torch.inf))
        refuse("log_probs", wrong, log_probs, "must be numbers below +inf")
        return log_probs, lengths

    def _checked_labels(
        self, targets: Tensor, target_lengths: Tensor | None, log_probs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Check labels (B, N) and fill in their numbers; padding becomes 0."""
        B, _, V = log_probs.shape
        if targets.ndim != 2 or len(targets) != B:
            raise ValueError(
                f"targets must have shape (B, N) with B = {B} from log_probs (B, T, V) = "
                f"{tuple(log_probs.shape)}; got {tuple(targets.shape)}"
            )
        targets = targets.to(log_probs.device)
        target_lengths = check_lengths("target_lengths", target_lengths, log_probs, targets.shape[1], "N")
        used = valid(target_lengths, targets.shape[1])
        wrong = used & ((targets < 0) | (targets >= V) | (targets == self.blank_id))
        if bool(wrong.any()):
            raise ValueError(
                f"targets must lie in 0..V-1 = 0..{V - 1} and not be blank_id = {self.blank_id}; got "
                f"{int(targets[wrong][0])} in item {int(wrong.nonzero()[0, 0])} of the batch"
            )
        return targets, target_lengths

    def _prepared(
        self, targets: Tensor, log_probs: Tensor, target_lengths: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Check the arguments, and make labels and log-probabilities of features."""
        if not isinstance(targets, Tensor):
            raise TypeError(f"targets must be a Tensor; got {type(targets).__name__}")
        if not targets.is_floating_point():
            if targets.is_complex() or targets.dtype == torch.bool:
                raise TypeError(f"targets must have an integer or a floating dtype; got {targets.dtype}")
            log_probs, lengths = self._checked_probs(log_probs, lengths)
            targets, target_lengths = self._checked_labels(targets, target_lengths, log_probs)
            return targets, log_probs, target_lengths, lengths
        return self._from_features(targets, log_probs, target_lengths, lengths)

    def _from_features(
        self, text: Tensor, audio: Tensor, text_lengths: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give each token a label of its own, and each frame scores by its distances from the tokens."""
        text = check_features("targets", text, "(B, N), or (B, N, D1) where they are features")
        audio = check_features("log_probs", audio, "(B, T, D2)")
        check_alike("targets", text, "log_probs", audio)
        B, N, _ = text.shape
        if self.blank_id > N:
            raise ValueError(
                f"blank_id must lie in 0..N = 0..{N} where targets are features; got {self.blank_id}"
            )
        text_lengths = check_lengths("target_lengths", text_lengths, text, N, "N")
        lengths = check_lengths("lengths", lengths, audio, audio.shape[1], "T")
        names = ("targets", "log_probs")
        for name, features, used in zip(names, (text, audio), (text_lengths, lengths), strict=True):
            wrong = valid(used, features.shape[1])[..., None] & ~features.isfinite()
            refuse(name, wrong, features, "must hold finite numbers where they are features")
        a, b = comparable(text, audio, text_lengths, lengths, self.projection, self.num_anchors, names)
        tokens = valid(text_lengths, N)[:, None]
        score = pairwise_cost(a, b, text_lengths, lengths).transpose(1, 2) / -self.temperature
        blank = (
            torch.where(tokens, score, 0.0).sum(2, keepdim=True) / text_lengths.clamp(min=1)[:, None, None]
        )
        score = torch.where(tokens, score, -torch.inf)
        log_probs = torch.cat((score[..., : self.blank_id], blank, score[..., self.blank_id :]), 2)
        labels = torch.arange(N, device=text.device).expand(B, N)
        labels = torch.where(labels < self.blank_id, labels, labels + 1)
        return labels, log_probs.log_softmax(2), text_lengths, lengths


def _worst_stretch(log_prob: Tensor, window: int) -> float:
    """Return the lowest mean of ``window`` frames in a row, or of all if they are fewer."""
    total = torch.nn.functional.pad(log_prob.cumsum(0), (1, 0))
    width = min(window, len(log_prob))
    return float(((total[width:] - total[:-width]) / width).min())
