"""Log-mel spectrogram and MFCC in plain torch."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Window = Literal["hann", "hamming", "povey"]

# Frames whose spectra are in memory at once.
_BLOCK = 1 << 14


def num_frames(num_samples: int, hop_length: int) -> int:
    """Count the frames of a signal: frame t is centred at sample ``t * hop_length``.

    Parameters
    ----------
    num_samples : int
        Length of the signal, >= 0.
    hop_length : int
        Samples from one frame to the next, >= 1.

    Returns
    -------
    int
        ``1 + num_samples // hop_length``.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> num_frames(16000, 160)
    101
    """
    if num_samples < 0:
        raise ValueError(f"num_samples must be >= 0; got {num_samples}")
    if hop_length < 1:
        raise ValueError(f"hop_length must be >= 1; got {hop_length}")
    return 1 + num_samples // hop_length


def frame_times(num_frames: int, hop_length: int, sample_rate: int) -> Tensor:
    """Centre times of frames 0 .. T-1.

    Parameters
    ----------
    num_frames : int
        T, >= 0.
    hop_length : int
        Samples from one frame to the next, >= 1.
    sample_rate : int
        Samples per second, >= 1.

    Returns
    -------
    Tensor of float64, shape (T,)
        ``t * hop_length / sample_rate`` in seconds.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> frame_times(3, 160, 16000)
    tensor([0.0000, 0.0100, 0.0200], dtype=torch.float64)
    """
    if num_frames < 0:
        raise ValueError(f"num_frames must be >= 0; got {num_frames}")
    if hop_length < 1 or sample_rate < 1:
        raise ValueError(f"hop_length and sample_rate must be >= 1; got {hop_length} and {sample_rate}")
    return torch.arange(num_frames, dtype=torch.float64) * hop_length / sample_rate


def mel_filterbank(
    sample_rate: int,
    num_fft: int,
    num_mels: int,
    min_frequency: float = 0.0,
    max_frequency: float | None = None,
    *,
    htk: bool = False,
    norm: Literal["slaney"] | None = "slaney",
) -> Tensor:
    r"""Triangular filters, equally spaced on a mel scale.

    .. math:: W_{fm} = \max\Bigl(0, \min\Bigl(\frac{f - c_{m-1}}{c_m - c_{m-1}},
        \frac{c_{m+1} - f}{c_{m+1} - c_m}\Bigr)\Bigr)

    Parameters
    ----------
    sample_rate : int
        Samples per second, >= 1.
    num_fft : int
        Length of the Fourier transform, >= 2.
    num_mels : int
        Number of filters M, >= 1.
    min_frequency, max_frequency : float
        Outer edges of the first and the last filter in Hz,
        ``0 <= min_frequency < max_frequency <= sample_rate / 2``; the latter is the default of
        ``max_frequency``.
    htk : bool
        HTK's scale ``2595 log10(1 + f / 700)`` instead of Slaney's (linear below 1 kHz).
    norm : {"slaney", None}
        ``"slaney"`` gives every filter unit area over Hz; ``None`` gives every filter a peak of 1.

    Returns
    -------
    Tensor of float64, shape (num_fft // 2 + 1, M)
        Weight of each Fourier bin in each filter.

    Raises
    ------
    ValueError
        If an argument is out of range, or a filter is so narrow that it holds no Fourier bin.

    Notes
    -----
    The values are those of ``librosa.filters.mel``, transposed.

    Examples
    --------
    >>> mel_filterbank(16000, 512, 40).shape
    torch.Size([257, 40])
    """
    _check_rate(sample_rate)
    nyquist = sample_rate / 2
    max_frequency = nyquist if max_frequency is None else max_frequency
    if not 0 <= min_frequency < max_frequency <= nyquist:
        raise ValueError(
            "the band must satisfy 0 <= min_frequency < max_frequency <= sample_rate / 2 = "
            f"{nyquist:g}; got min_frequency {min_frequency:g} and max_frequency {max_frequency:g}"
        )
    if num_mels < 1 or num_fft < 2:
        raise ValueError(f"num_mels must be >= 1 and num_fft >= 2; got {num_mels} and {num_fft}")
    if norm not in {"slaney", None}:
        raise ValueError(f'norm must be "slaney" or None; got {norm!r}')
    bins = torch.arange(num_fft // 2 + 1, dtype=torch.float64) * sample_rate / num_fft
    low, high = (_hz_to_mel(f, htk=htk) for f in (min_frequency, max_frequency))
    edges = _mel_to_hz(torch.linspace(low, high, num_mels + 2, dtype=torch.float64), htk=htk)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    weights = torch.minimum(rising, falling).clamp(min=0)
    empty = (weights == 0).all(dim=0)
    if empty.any():
        raise ValueError(
            f"num_mels = {num_mels} filters are too narrow for num_fft = {num_fft} at {sample_rate} Hz: "
            f"filter {int(empty.nonzero()[0])} holds no Fourier bin; lower num_mels or raise num_fft"
        )
    return weights * (2 / (right - left)) if norm else weights


class LogMel(nn.Module):
    r"""Log-mel spectrogram: natural log of the power in mel bands.

    .. math:: X_{tm} = \log\max\Bigl(\epsilon, \sum_f W_{fm}
        \Bigl|\sum_n w_n \, y_{tH + n} e^{-2\pi i f n / N}\Bigr|^2\Bigr), \quad y_n = x_n - a x_{n-1}

    Parameters
    ----------
    sample_rate : int
        Samples per second of the input, >= 1.
    frame_period : float
        Seconds from one frame to the next. The hop in samples is ``round(frame_period * sample_rate)``, >= 1.
    window : float
        Length of the window in seconds; ``round(window * sample_rate)`` samples, >= 1.
    num_mels : int
        Number of filters M.
    min_frequency, max_frequency : float
        Band of the filters in Hz; half the sample rate if ``max_frequency`` is omitted.
    window_type : {"hann", "hamming", "povey"}
        Periodic window; "povey" is Kaldi's ``hann ** 0.85``.
    num_fft : int, optional
        Length of the Fourier transform, at least the window; the next power of two if omitted.
    preemphasis : float
        a in the formula, in [0, 1]. 0 switches it off.
    floor : float
        :math:`\epsilon`, smallest power before the log, > 0.
    htk, norm
        See :func:`mel_filterbank`.

    Attributes
    ----------
    hop_length, window_length : int
        Samples.
    frame_period : float
        ``hop_length / sample_rate``: what the hop really is when ``frame_period * sample_rate`` is not whole
        (10 ms at 22,050 Hz is 220 samples, 9.977 ms: 23 ms off after 10 s for whoever counts in nominal
        periods). Take times from :func:`frame_times`.

    Raises
    ------
    ValueError
        If an argument is out of range; calling the module: if the waveform is empty.
    TypeError
        Calling the module: if the waveform is not of a floating point type.

    Notes
    -----
    The signal is taken to be zero outside of what was given. Frame t is centred at sample ``t * hop_length``,
    there are ``1 + n // hop_length`` frames, and a batch padded with zeros gives each signal the frames it
    has on its own. With the defaults the values are the logarithm of
    ``librosa.feature.melspectrogram(center=True, pad_mode="constant")``. float64 input gives float64 output,
    other types float32. Differentiable; below the floor the gradient is 0.

    Examples
    --------
    >>> log_mel = LogMel(16000)
    >>> log_mel(torch.randn(2, 16000)).shape
    torch.Size([2, 101, 80])
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        *,
        frame_period: float = 0.01,
        window: float = 0.025,
        num_mels: int = 80,
        min_frequency: float = 20.0,
        max_frequency: float | None = None,
        window_type: Window = "hann",
        num_fft: int | None = None,
        preemphasis: float = 0.0,
        floor: float = 1e-10,
        htk: bool = False,
        norm: Literal["slaney"] | None = "slaney",
    ) -> None:
        super().__init__()
        _check_rate(sample_rate)
        self.sample_rate = sample_rate
        self.hop_length = _samples("frame_period", frame_period, sample_rate)
        self.window_length = _samples("window", window, sample_rate)
        self.num_fft = max(2, 1 << (self.window_length - 1).bit_length()) if num_fft is None else num_fft
        if self.num_fft < max(2, self.window_length):
            raise ValueError(
                f"num_fft must be >= the window's {self.window_length} samples (and >= 2); got {self.num_fft}"
            )
        if not 0 <= preemphasis <= 1:
            raise ValueError(f"preemphasis must be in [0, 1]; got {preemphasis}")
        if not 0 < floor < math.inf:
            raise ValueError(f"floor must be > 0 and finite; got {floor}")
        self.num_mels = num_mels
        self.preemphasis = preemphasis
        self.floor = floor
        filters = mel_filterbank(
            sample_rate, self.num_fft, num_mels, min_frequency, max_frequency, htk=htk, norm=norm
        )
        # Constants are rebuilt from the arguments, so they stay out of the state dict.
        self.register_buffer("_filters", filters.float(), persistent=False)
        self.register_buffer("_taper", _taper(window_type, self.window_length).float(), persistent=False)
        self._filters: Tensor
        self._taper: Tensor

    @property
    def frame_period(self) -> float:
        """Seconds from one frame to the next, exactly ``hop_length / sample_rate``."""
        return self.hop_length / self.sample_rate

    def extra_repr(self) -> str:
        """Show what the module measures."""
        return (
            f"sample_rate={self.sample_rate}, hop_length={self.hop_length}, "
            f"window_length={self.window_length}, num_fft={self.num_fft}, num_mels={self.num_mels}"
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform waveforms (..., n), n >= 1, full scale [-1, 1], into features (..., T, M)."""
        return self._log_mel(_as_float(waveform))

    def _log_mel(self, waveform: Tensor) -> Tensor:
        """Compute the features of a checked waveform."""
        before = self.num_fft // 2
        signal = F.pad(waveform, (before, self.num_fft - before))
        if self.preemphasis:
            signal = torch.cat(
                [signal[..., :1], signal[..., 1:] - self.preemphasis * signal[..., :-1]], dim=-1
            )
        flat = signal.reshape(-1, signal.shape[-1])
        size, hop = self.num_fft, self.hop_length
        frames = (flat.shape[-1] - size) // hop + 1
        # A gradient needs all spectra at once; else a long recording is done in blocks.
        whole = (torch.is_grad_enabled() and signal.requires_grad) or torch.compiler.is_compiling()
        step = frames if whole else _BLOCK
        ends = [min(start + step, frames) for start in range(0, frames, step)]
        blocks = [
            flat[:, start * hop : (end - 1) * hop + size]
            for start, end in zip(range(0, frames, step), ends, strict=True)
        ]
        energy = torch.cat([self._energy(block) for block in blocks], dim=1)
        return energy.clamp(min=self.floor).log().reshape(*waveform.shape[:-1], *energy.shape[-2:])

    def _energy(self, signal: Tensor) -> Tensor:
        """Compute the energies (B, T, M) in the filters of padded signals (B, n)."""
        spectrum = torch.stft(
            signal,
            self.num_fft,
            self.hop_length,
            self.window_length,
            self._taper.to(signal.dtype),
            center=False,
            return_complex=True,
        )
        power = torch.view_as_real(spectrum).square().sum(-1).mT  # (B, T, F)
        return power @ self._filters.to(power.dtype)


class MFCC(LogMel):
    r"""Mel-frequency cepstral coefficients, with the defaults of HMM recognisers (Kaldi, HTK).

    .. math:: c_{tk} = \Bigl(1 + \frac{L}{2} \sin\frac{\pi k}{L}\Bigr) \sqrt{\frac{2 - \delta_k}{M}}
        \sum_{m=0}^{M-1} X_{tm} \cos\frac{\pi k (m + 1/2)}{M}

    Parameters
    ----------
    sample_rate, frame_period, window, num_mels, min_frequency, window_type, num_fft, preemphasis, floor, htk,
    norm
        See :class:`LogMel`.
    max_frequency : float, optional
        Upper edge of the filters in Hz; the smaller of 7600 and half the sample rate if omitted.
    num_ceps : int
        Number of coefficients, 1 <= num_ceps <= num_mels; c0 is the first.
    lifter : float
        L in the formula, >= 0; 0 switches liftering off.
    energy : bool
        Replace c0 by the natural log of the frame's energy, the sum of the squared samples under the window's
        length before pre-emphasis and tapering, not below ``floor``.

    Raises
    ------
    ValueError
        If an argument is out of range; calling the module: if the waveform is empty.
    TypeError
        Calling the module: if the waveform is not of a floating point type.

    Notes
    -----
    Frames, padding, types and gradients as in :class:`LogMel`. Kaldi pre-emphasises each frame for itself and
    spaces its triangles in mel, so its values are close but not equal.

    References
    ----------
    .. [1] S. Davis and P. Mermelstein, "Comparison of parametric representations for monosyllabic word
       recognition in continuously spoken sentences", IEEE Trans. ASSP 28(4), 1980.

    Examples
    --------
    >>> from hmm_speech import deltas
    >>> mfcc = MFCC(16000)
    >>> features = mfcc(torch.randn(16000))
    >>> features.shape, deltas(features).shape
    (torch.Size([101, 13]), torch.Size([101, 39]))
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        *,
        frame_period: float = 0.01,
        window: float = 0.025,
        num_mels: int = 26,
        num_ceps: int = 13,
        lifter: float = 22.0,
        energy: bool = False,
        min_frequency: float = 20.0,
        max_frequency: float | None = None,
        window_type: Window = "hamming",
        num_fft: int | None = None,
        preemphasis: float = 0.97,
        floor: float = 1e-10,
        htk: bool = True,
        norm: Literal["slaney"] | None = None,
    ) -> None:
        super().__init__(
            sample_rate,
            frame_period=frame_period,
            window=window,
            num_mels=num_mels,
            min_frequency=min_frequency,
            max_frequency=min(7600.0, sample_rate / 2) if max_frequency is None else max_frequency,
            window_type=window_type,
            num_fft=num_fft,
            preemphasis=preemphasis,
            floor=floor,
            htk=htk,
            norm=norm,
        )
        if not 1 <= num_ceps <= num_mels:
            raise ValueError(f"num_ceps must be in 1..num_mels = {num_mels}; got {num_ceps}")
        if not 0 <= lifter < math.inf:
            raise ValueError(f"lifter must be >= 0 and finite; got {lifter}")
        self.num_ceps = num_ceps
        self.lifter = lifter
        self.energy = energy
        self.register_buffer("_transform", _cosines(num_mels, num_ceps, lifter).float(), persistent=False)
        self._transform: Tensor

    def extra_repr(self) -> str:
        """Show what the module measures."""
        return (
            f"{super().extra_repr()}, num_ceps={self.num_ceps}, lifter={self.lifter:g}, energy={self.energy}"
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Transform waveforms (..., n), n >= 1, full scale [-1, 1], into features (..., T, num_ceps)."""
        waveform = _as_float(waveform)
        log_mel = self._log_mel(waveform)
        cepstra = log_mel @ self._transform.to(log_mel.dtype)
        if not self.energy:
            return cepstra
        before = self.window_length // 2
        signal = F.pad(waveform, (before, self.window_length - before))
        power = signal.unfold(-1, self.window_length, self.hop_length).square().sum(-1)
        return torch.cat([power.clamp(min=self.floor).log().unsqueeze(-1), cepstra[..., 1:]], dim=-1)


def _check_rate(sample_rate: int) -> None:
    """Reject a sample rate below 1."""
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be >= 1 Hz; got {sample_rate}")


def _samples(name: str, seconds: float, sample_rate: int) -> int:
    """Convert a duration to whole samples."""
    if not 0 < seconds < math.inf or round(seconds * sample_rate) < 1:
        raise ValueError(f"{name} must last at least one sample (1 / {sample_rate} s); got {seconds} s")
    return round(seconds * sample_rate)


def _as_float(waveform: Tensor) -> Tensor:
    """Reject what is no waveform; float64 stays, other floating point types become float32."""
    if not waveform.is_floating_point():
        raise TypeError(f"waveform must be floating point with full scale [-1, 1]; got {waveform.dtype}")
    if waveform.ndim < 1 or waveform.numel() == 0:
        raise ValueError(f"waveform must have shape (..., n) with n >= 1; got {tuple(waveform.shape)}")
    return waveform if waveform.dtype == torch.float64 else waveform.float()


def _hz_to_mel(frequency: float, *, htk: bool) -> float:
    """HTK's or Slaney's scale (the latter linear below 1 kHz, 15 mel, then 27 steps to 6.4 kHz)."""
    if htk:
        return 2595 * math.log10(1 + frequency / 700)
    if frequency < 1000:
        return frequency * 3 / 200
    return 15 + 27 * math.log(frequency / 1000) / math.log(6.4)


def _mel_to_hz(mel: Tensor, *, htk: bool) -> Tensor:
    """Invert :func:`_hz_to_mel`."""
    if htk:
        return 700 * (10 ** (mel / 2595) - 1)
    return torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp((mel - 15) * (math.log(6.4) / 27)))


def _taper(window_type: Window, length: int) -> Tensor:
    """Periodic window in float64."""
    if window_type == "hamming":
        return torch.hamming_window(length, dtype=torch.float64)
    if window_type == "hann":
        return torch.hann_window(length, dtype=torch.float64)
    if window_type == "povey":
        return torch.hann_window(length, dtype=torch.float64) ** 0.85
    raise ValueError(f'window_type must be "hann", "hamming" or "povey"; got {window_type!r}')


def _cosines(num_mels: int, num_ceps: int, lifter: float) -> Tensor:
    """Orthonormal DCT-II times the lifter, shape (num_mels, num_ceps), float64."""
    k = torch.arange(num_ceps, dtype=torch.float64)
    m = torch.arange(num_mels, dtype=torch.float64)[:, None]
    transform = torch.cos(math.pi * k * (m + 0.5) / num_mels) * math.sqrt(2 / num_mels)
    transform[:, 0] *= math.sqrt(0.5)
    return transform * (1 + lifter / 2 * torch.sin(math.pi * k / lifter)) if lifter else transform
