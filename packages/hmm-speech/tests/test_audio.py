"""load_audio: what it decodes, and what it says about what it cannot."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hmm_speech import AudioError, load_audio


def tone(rate: int, seconds: float = 0.5, frequency: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_formats_decode_to_float32_in_full_scale(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    soundfile.write(path, tone(16000), 16000)
    audio = load_audio(path)
    assert audio.waveform.dtype == torch.float32
    assert audio.waveform.ndim == 1
    assert audio.waveform.is_contiguous()
    assert audio.duration == pytest.approx(0.5, abs=0.1)  # mp3 pads to whole frames
    assert audio.waveform.abs().max().item() == pytest.approx(0.5, abs=0.05)  # lossy codecs


def test_pcm16_samples_are_exact(tmp_path: Path) -> None:
    samples = np.array([0, 1, -1, 32767, -32768], np.int16)
    soundfile.write(tmp_path / "x.wav", samples, 16000)
    assert torch.equal(load_audio(tmp_path / "x.wav").waveform, torch.from_numpy(samples / 32768).float())


def test_several_channels_become_their_mean(tmp_path: Path) -> None:
    stereo = np.stack([tone(16000), np.zeros(8000)], axis=1)
    soundfile.write(tmp_path / "x.flac", stereo, 16000, subtype="PCM_24")
    expected = torch.from_numpy(tone(16000) / 2).float()
    torch.testing.assert_close(load_audio(tmp_path / "x.flac").waveform, expected, atol=2**-23, rtol=0)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
def test_resampling_keeps_a_tone(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "x.wav", tone(rate), rate, subtype="FLOAT")
    audio = load_audio(str(tmp_path / "x.wav"), 16000)
    assert audio.sample_rate == 16000
    assert audio.waveform.shape == (8000,)
    inner = slice(800, -800)  # the filter rings at the edges
    expected = torch.from_numpy(tone(16000)).float()
    torch.testing.assert_close(audio.waveform[inner], expected[inner], atol=1e-4, rtol=0)


def test_the_rate_of_the_file_can_be_kept(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(11025), 11025)
    assert load_audio(tmp_path / "x.wav", None).sample_rate == 11025


def test_long_files_are_read_whole(tmp_path: Path) -> None:
    samples = np.arange(2**20 + 17, dtype=np.int64).astype(np.int16)
    soundfile.write(tmp_path / "x.flac", samples, 16000)
    assert np.array_equal(load_audio(tmp_path / "x.flac").waveform.numpy() * 32768, samples)


def reason(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(path)
    assert caught.value.path == path
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in reason(tmp_path / "x.wav")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "Is a directory" in reason(tmp_path)


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()
    assert reason(tmp_path / "x.wav") == "the file is empty"


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.raw"])
def test_text_renamed_is_no_audio(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("This is no audio at all.\n" * 10)
    assert reason(tmp_path / name).startswith("the file cannot be decoded: ")


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"x{suffix}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert reason(path).startswith("the file is cut short")


def test_a_damaged_flac_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    content = bytearray(path.read_bytes())
    content[8000:20000] = bytes(12000)
    path.write_bytes(content)
    assert reason(path)


def test_a_streamed_wav_without_a_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(16000), 16000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = content[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert load_audio(path).waveform.shape == (8000,)


def test_a_streamed_flac_without_a_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, tone(16000), 16000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of the number of samples in STREAMINFO
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert reason(path) == "the header does not give the length (written to a pipe?); convert the file"


def test_no_samples_are_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.zeros(0), 16000)
    assert reason(tmp_path / "x.wav") == "the file holds no samples"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_an_error(tmp_path: Path, value: float) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([0.0, value, 0.0]), 16000, subtype="FLOAT")
    assert reason(tmp_path / "x.wav") == "the file holds NaN or infinite samples"


def test_one_sample_is_a_signal(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([0.5]), 16000)
    assert load_audio(tmp_path / "x.wav").waveform.tolist() == [0.5]


def test_the_sample_rate_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample_rate must be >= 1 Hz or None; got 0"):
        load_audio(tmp_path / "x.wav", 0)


def test_the_error_survives_a_worker_process() -> None:
    error = pickle.loads(pickle.dumps(AudioError(Path("x.wav"), "the file is empty")))  # noqa: S301 - our own bytes
    assert (error.path, error.reason) == (Path("x.wav"), "the file is empty")


def test_real_recordings_load(speech_data: Path) -> None:
    audio = load_audio(speech_data / "ljspeech" / "LJ001-0001.flac")
    assert 9 < audio.duration < 10
    assert load_audio(speech_data / "fsdd" / "0_george_10.flac").sample_rate == 16000


def test_a_wav_that_ends_before_its_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    assert reason(tmp_path / "x.wav").startswith("the file cannot be decoded: ")


def test_a_flac_that_lacks_its_last_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.flac"
    soundfile.write(path, tone(16000), 16000)
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"\xff\xf8")])
    assert reason(path).startswith("the file is cut short or damaged: ")


def test_an_aiff_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.aiff"
    soundfile.write(path, tone(16000), 16000)
    path.write_bytes(path.read_bytes()[:9000])
    assert reason(path).startswith("the file is cut short: its header announces ")
