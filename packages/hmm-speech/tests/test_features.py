"""Log-mel, MFCC, deltas, normalisation: against librosa, and by their definitions."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_speech import MFCC, LogMel, MeanVariance, _features, deltas, frame_times, mel_filterbank, num_frames


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(
    ("rate", "num_fft", "num_mels"), [(16000, 512, 80), (8000, 256, 23), (22050, 1024, 40)]
)
def test_filters_are_those_of_librosa(htk: bool, norm: Any, rate: int, num_fft: int, num_mels: int) -> None:
    librosa = pytest.importorskip("librosa")
    ours = mel_filterbank(rate, num_fft, num_mels, 20.0, rate * 0.45, htk=htk, norm=norm)
    theirs = librosa.filters.mel(
        sr=rate,
        n_fft=num_fft,
        n_mels=num_mels,
        fmin=20,
        fmax=rate * 0.45,
        htk=htk,
        norm=norm,
        dtype="float64",
    )
    torch.testing.assert_close(ours, torch.from_numpy(theirs).T.contiguous(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "case",
    [
        {"sample_rate": 16000},
        {"sample_rate": 16000, "window_type": "hamming", "htk": True, "norm": None, "num_mels": 26},
        {"sample_rate": 22050, "frame_period": 0.0125, "window": 0.05, "num_mels": 40},
        {"sample_rate": 8000, "num_mels": 23, "num_fft": 300, "max_frequency": 3800.0},
    ],
)
@pytest.mark.parametrize("num_samples", [2400, 2559, 4321])
def test_log_mel_is_that_of_librosa(case: dict[str, Any], num_samples: int) -> None:
    librosa = pytest.importorskip("librosa")
    module = LogMel(**case)
    waveform = noise(num_samples)
    power = librosa.feature.melspectrogram(
        y=waveform.numpy(),
        sr=module.sample_rate,
        n_fft=module.num_fft,
        hop_length=module.hop_length,
        win_length=module.window_length,
        window=case.get("window_type", "hann"),
        center=True,
        pad_mode="constant",
        n_mels=module.num_mels,
        fmin=20,
        fmax=case.get("max_frequency"),
        htk=case.get("htk", False),
        norm=case.get("norm", "slaney"),
    )
    expected = torch.from_numpy(power).clamp(min=module.floor).log().T.double()
    # librosa computes filters, we keep filters and window in float32.
    torch.testing.assert_close(module(waveform), expected, rtol=0, atol=2e-6)


def test_mfcc_is_that_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    log_mel = LogMel(num_mels=26, htk=True, norm=None, window_type="hamming", max_frequency=7600.0)
    waveform = noise(8000)
    expected = librosa.feature.mfcc(S=log_mel(waveform).T.numpy(), n_mfcc=13, dct_type=2, norm="ortho")
    mfcc = MFCC(preemphasis=0.0, lifter=0.0)
    torch.testing.assert_close(mfcc(waveform), torch.from_numpy(expected).T.contiguous(), rtol=0, atol=1e-5)


def test_deltas_are_those_of_librosa() -> None:
    librosa = pytest.importorskip("librosa")
    x = noise(40, 5)
    expected = librosa.feature.delta(x.T.numpy(), width=5, order=1, mode="nearest")
    torch.testing.assert_close(deltas(x, order=1)[:, 5:], torch.from_numpy(expected.T.copy()))


def test_the_lifter_is_that_of_htk() -> None:
    waveform = noise(4000)
    plain, liftered = MFCC(lifter=0.0)(waveform), MFCC(lifter=22.0)(waveform)
    k = torch.arange(13, dtype=torch.float64)
    # The constants are kept in float32.
    torch.testing.assert_close(liftered, plain * (1 + 11 * torch.sin(math.pi * k / 22)), rtol=0, atol=1e-5)


def test_preemphasis_is_a_first_difference() -> None:
    waveform = noise(4000)
    by_hand = torch.cat([waveform, waveform.new_zeros(1)]) - 0.97 * torch.cat(
        [waveform.new_zeros(1), waveform]
    )
    frames = 1 + 4000 // 160
    torch.testing.assert_close(LogMel(preemphasis=0.97)(waveform), LogMel()(by_hand)[:frames])


def test_energy_replaces_the_first_coefficient() -> None:
    waveform = noise(1000)
    with_energy, without = MFCC(energy=True)(waveform), MFCC()(waveform)
    assert torch.equal(with_energy[:, 1:], without[:, 1:])
    t = 3
    expected = waveform[t * 160 - 200 : t * 160 + 200].square().sum().log()
    torch.testing.assert_close(with_energy[t, 0], expected)


@pytest.mark.parametrize("num_samples", [1, 2, 159, 160, 161, 3200])
@pytest.mark.parametrize(
    "module", [LogMel(num_fft=701), MFCC(), MFCC(energy=True), LogMel(window=0.004, num_mels=8)]
)
def test_the_number_of_frames_is_documented(module: LogMel, num_samples: int) -> None:
    features = module(noise(num_samples))
    assert features.shape[0] == num_frames(num_samples, module.hop_length)
    assert torch.isfinite(features).all()


def test_a_frame_is_centred_at_its_time() -> None:
    module = LogMel()
    click = torch.zeros(16000)
    click[40 * module.hop_length] = 1.0
    energy = module(click).sum(-1)
    assert energy.argmax() == 40
    torch.testing.assert_close(energy[39], energy[41])
    assert frame_times(101, module.hop_length, 16000)[40] == 0.4


@pytest.mark.parametrize("block", [1, 7, 50])
def test_blocks_of_a_long_recording_change_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = torch.randn(2, 8000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    extract = MFCC(16000)
    whole = extract(waveform)
    monkeypatch.setattr(_features, "_BLOCK", block)
    torch.testing.assert_close(extract(waveform), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(extract(waveform.requires_grad_()), whole, rtol=1e-12, atol=1e-12)


def test_digital_silence_is_the_floor() -> None:
    features = LogMel(floor=1e-7)(torch.zeros(1600))
    torch.testing.assert_close(features, torch.full_like(features, math.log(1e-7)))


@pytest.mark.parametrize("module", [LogMel(), MFCC(), MFCC(energy=True)])
def test_padding_and_batching_change_nothing(module: LogMel) -> None:
    short, long = noise(3000, dtype=torch.float32), noise(8000, seed=1, dtype=torch.float32)
    batch = torch.zeros(2, 1, 8000)
    batch[0, 0, :3000], batch[1, 0] = short, long
    features = module(batch)
    assert features.shape[:2] == (2, 1)
    # A product of other shape may sum in another order.
    torch.testing.assert_close(features[0, 0, : num_frames(3000, 160)], module(short), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(features[1, 0], module(long), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("given", "returned"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.float16, torch.float32)],
)
def test_types(given: torch.dtype, returned: torch.dtype) -> None:
    assert MFCC()(noise(1600).to(given)).dtype == returned


@pytest.mark.parametrize(
    "module", [LogMel(1000, num_mels=3), MFCC(1000, num_mels=4, num_ceps=2, energy=True)]
)
def test_gradients_are_right(module: LogMel) -> None:
    assert torch.autograd.gradcheck(module, noise(35).requires_grad_())
    assert torch.autograd.gradcheck(deltas, noise(6, 2).requires_grad_())


def test_the_gradient_of_silence_is_zero() -> None:
    waveform = torch.zeros(800, requires_grad=True)
    MFCC()(waveform).sum().backward()
    assert waveform.grad is not None
    assert not waveform.grad.any()


def test_constants_stay_out_of_the_state() -> None:
    assert not MFCC().state_dict()
    assert "hop_length=160" in repr(LogMel())
    assert "num_ceps=13" in repr(MFCC())


def test_the_real_frame_period_is_told() -> None:
    assert LogMel(22050).frame_period == pytest.approx(220 / 22050, rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample_rate": 0}, "sample_rate must be >= 1 Hz; got 0"),
        ({"frame_period": 0.0}, "frame_period must last at least one sample"),
        ({"window": 1e-6}, "window must last at least one sample"),
        ({"window": math.nan}, "window must last at least one sample"),
        ({"max_frequency": 9000.0}, r"sample_rate / 2 = 8000; got min_frequency 20 and max_frequency 9000"),
        ({"min_frequency": -1.0}, "0 <= min_frequency"),
        ({"min_frequency": 5000.0, "max_frequency": 4000.0}, "min_frequency < max_frequency"),
        ({"num_mels": 0}, "num_mels must be >= 1"),
        ({"num_mels": 500}, "num_mels = 500 filters are too narrow for num_fft = 512 at 16000 Hz: filter 0"),
        ({"num_fft": 256}, "num_fft must be >= the window's 400 samples"),
        ({"preemphasis": 1.5}, r"preemphasis must be in \[0, 1\]; got 1.5"),
        ({"floor": 0.0}, "floor must be > 0 and finite; got 0.0"),
        ({"window_type": "square"}, 'window_type must be "hann", "hamming" or "povey"; got'),
        ({"norm": "l1"}, 'norm must be "slaney" or None; got'),
        ({"num_ceps": 27}, r"num_ceps must be in 1..num_mels = 26; got 27"),
        ({"lifter": -1.0}, "lifter must be >= 0"),
    ],
)
def test_arguments_are_checked_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MFCC(**arguments)


def test_povey_window_is_close_to_hann() -> None:
    assert torch.isfinite(LogMel(window_type="povey")(noise(1600))).all()


def test_waveforms_are_checked() -> None:
    with pytest.raises(ValueError, match=r"waveform must have shape \(..., n\) with n >= 1; got \(2, 0\)"):
        MFCC()(torch.zeros(2, 0))
    with pytest.raises(TypeError, match=r"waveform must be floating point with .* got torch\.int16"):
        MFCC()(torch.zeros(100, dtype=torch.int16))


def test_frame_helpers_check_their_arguments() -> None:
    assert num_frames(0, 160) == 1
    for call in (lambda: num_frames(-1, 160), lambda: num_frames(1, 0), lambda: frame_times(-1, 1, 1)):
        with pytest.raises(ValueError, match="must be >="):
            call()
    with pytest.raises(ValueError, match="hop_length and sample_rate must be >= 1; got 0 and 16000"):
        frame_times(3, 0, 16000)


def test_deltas_of_a_parabola_are_a_line_and_a_constant() -> None:
    t = torch.arange(20.0, dtype=torch.float64)[:, None]
    x = deltas(t.square(), order=2)
    torch.testing.assert_close(x[4:-4, 1], 2 * t[4:-4, 0])
    torch.testing.assert_close(x[4:-4, 2], torch.full((12,), 2.0, dtype=torch.float64))


def test_deltas_of_one_frame_are_zero_and_of_none_empty() -> None:
    assert deltas(torch.ones(1, 3)).tolist() == [[1.0] * 3 + [0.0] * 6]
    assert deltas(torch.ones(2, 0, 3)).shape == (2, 0, 9)
    assert torch.equal(deltas(torch.ones(4, 3), order=0), torch.ones(4, 3))


def test_deltas_check_their_arguments() -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(..., T, D\); got \(3,\)"):
        deltas(torch.ones(3))
    with pytest.raises(ValueError, match="order must be >= 0 and window >= 1; got -1 and 2"):
        deltas(torch.ones(3, 1), order=-1)


def test_normalised_features_have_zero_mean_and_unit_variance() -> None:
    x = noise(500, 3) * torch.tensor([1.0, 10.0, 0.0]) + torch.tensor([3.0, -40.0, 7.0])
    y = MeanVariance(3).add(x).normalize(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)
    # The third dimension is constant.
    torch.testing.assert_close(y.var(0, correction=0), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))


def test_statistics_add_up_in_any_grouping() -> None:
    x = noise(60, 4)
    whole = MeanVariance(4).add(x)
    parts = [MeanVariance(4).add(x[a:b]) for a, b in pairwise([0, 10, 10, 37, 60])]
    total = parts[3] + (parts[1] + parts[0]) + parts[2]
    assert total.count == whole.count == 60
    torch.testing.assert_close(total.mean, whole.mean)
    torch.testing.assert_close(total.variance, whole.variance)
    assert MeanVariance(4).add(x.reshape(3, 20, 4)).count == 60


def test_the_mean_alone_can_be_removed_and_the_type_stays() -> None:
    x = noise(50, 2, dtype=torch.float32)
    y = MeanVariance(2).add(x).normalize(x, variance=False)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.std(0), x.std(0))


def test_statistics_check_what_comes() -> None:
    statistics = MeanVariance(2)
    with pytest.raises(ValueError, match=r"x must have shape \(..., D\) with D = 2; got \(4, 3\)"):
        statistics.add(torch.ones(4, 3))
    with pytest.raises(ValueError, match="x must be finite"):
        statistics.add(torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="no frame has been added yet"):
        statistics.normalize(torch.ones(4, 2))
    with pytest.raises(ValueError, match="feature_dim must agree to add up; got 2 and 3"):
        statistics + MeanVariance(3)
    with pytest.raises(TypeError):
        statistics + 1  # type: ignore[operator]  # what is tested
    with pytest.raises(ValueError, match="feature_dim must be >= 1; got 0"):
        MeanVariance(0)
    with pytest.raises(ValueError, match="variance_floor must be > 0"):
        MeanVariance(2, variance_floor=0.0)


def test_frames_that_come_later_count_in_the_next_normalisation() -> None:
    statistics = MeanVariance(1).add(torch.tensor([[0.0], [2.0]]))
    assert statistics.normalize(torch.tensor([[2.0]])).tolist() == [[1.0]]
    statistics.add(torch.tensor([[4.0], [6.0]]))
    assert statistics.normalize(torch.tensor([[3.0]])).tolist() == [[0.0]]
