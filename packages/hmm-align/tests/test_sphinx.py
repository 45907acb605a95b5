"""Acoustic models of CMU Sphinx: features and densities as pocketsphinx computes them, and times."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hmm_align import Alignment, CorpusAligner, ForcedAligner, Tiers, read_textgrid
from hmm_align.sphinx._files import POSITIONS, SphinxFiles, read_options, read_sphinx
from hmm_align.sphinx._front_end import FrontEnd
from hmm_align.sphinx._mixtures import TiedMixtures
from hmm_align.sphinx._model import SphinxModel, _Triphones, find_model
from hmm_metrics import Interval, boundary_errors, summarize_boundaries
from hmm_models import ModelFileError
from hmm_speech import Corpus, Lexicon, load_audio, normalize_text, read_corpus

OPTIONS = Path("feat.params")


@pytest.fixture(scope="module")
def en_us() -> Path:
    pytest.importorskip("pocketsphinx", reason="the extra [sphinx] is not installed")
    return find_model("sphinx:en-us")


@pytest.fixture(scope="module")
def files(en_us: Path) -> SphinxFiles:
    return read_sphinx(en_us)


@pytest.fixture(scope="module")
def samples(corpus: Corpus) -> NDArray[np.int16]:
    """Three seconds of the made-up language, softer for a second: noise removal must follow."""
    signal = load_audio(corpus.utterances[0].audio).waveform.numpy()
    signal = np.concatenate([signal, signal * 0.05, signal])[:48_000]
    return (signal * 32767).round().astype("<i2")


def _logged(folder: Path, samples: NDArray[np.int16], model: Path) -> Path:
    """Let pocketsphinx write the features and senone scores of a recording; return the folder."""
    pocketsphinx: Any = pytest.importorskip("pocketsphinx")
    decoder = pocketsphinx.Decoder(
        hmm=str(model),
        lm=None,
        mfclogdir=str(folder),
        senlogdir=str(folder),
        compallsen=True,
        loglevel="FATAL",
    )
    decoder.set_align_text("a")
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"remove_noise": "no"},
        {"transform": "legacy", "lifter": "0"},
        {"transform": "htk", "nfilt": "40", "lowerf": "133.0", "unit_area": "no"},
        {"round_filters": "no", "nfft": "1024", "remove_dc": "yes"},
    ],
)
def test_cepstra_are_those_of_pocketsphinx(
    tmp_path: Path, samples: NDArray[np.int16], en_us: Path, changed: dict[str, str]
) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    out.mkdir()
    shutil.copytree(en_us, model)
    options = read_options(en_us / "feat.params") | changed
    (model / "feat.params").write_text("".join(f"-{name} {value}\n" for name, value in options.items()))
    (path,) = _logged(out, samples, model).glob("*.mfc")
    expected = np.fromfile(path, ">f4")[1:].reshape(-1, 13)
    found = FrontEnd(options, None, OPTIONS).cepstra(samples.astype(np.float64))
    # The last frame of pocketsphinx has fewer samples than the others.
    assert len(found) in {len(expected) - 1, len(expected)}
    # pocketsphinx computes in float32, cepstra lie within +-100.
    np.testing.assert_allclose(found[: len(expected) - 1], expected[: len(found)], atol=2e-3)


def test_densities_are_those_of_pocketsphinx(
    tmp_path: Path, samples: NDArray[np.int16], en_us: Path, files: SphinxFiles
) -> None:
    (path,) = _logged(tmp_path, samples, en_us).glob("*.sen")
    data = path.read_bytes().split(b"endhdr\n", 1)[1][4:]
    scores = np.frombuffer(data, "<i2").reshape(-1, 1 + files.definition.num_senones)[:, 1:]
    front_end = FrontEnd(files.options, files.transform, OPTIONS)
    (path,) = tmp_path.glob("*.mfc")
    cepstra = np.fromfile(path, ">f4")[1:].reshape(-1, 13).astype(np.float64)
    senones = torch.arange(files.definition.num_senones)
    found = TiedMixtures(files).log_prob(front_end.features(cepstra), senones).numpy()
    expected = -0.1024 * scores  # in steps of 1024 log(1.0001), relative to the best senone of the frame
    found = found[: len(expected)] - found[: len(expected)].max(axis=1, keepdims=True)
    # pocketsphinx sums four Gaussians of each stream and not all, from tables of 8 bits: it is lower where
    # many Gaussians share a frame, and the same elsewhere.
    near = expected > -8
    assert near.sum() > 5000
    assert np.median(np.abs(found - expected)[near]) < 0.5
    assert np.abs((found - expected)[near]).mean() < 1.0


def test_densities_are_products_over_streams_of_weighted_gaussians(files: SphinxFiles) -> None:
    chance = np.random.default_rng(1)
    x = chance.normal(0, 2, (3, 39)).astype(np.float32)
    senones = torch.tensor([5000, 7, 126, 7])
    found = TiedMixtures(files).log_prob(torch.from_numpy(x), senones)
    for row, value in zip(x.astype(np.float64), found.double().numpy(), strict=True):
        for senone, log_density in zip(senones.tolist(), value, strict=True):
            book, expected = files.codebook_of_senone[senone], 0.0
            parts = np.split(row, 3)
            for part, mean, var, weight in zip(
                parts, files.means, files.variances, files.weights, strict=True
            ):
                distance = (part - mean[book]) ** 2 / var[book] + np.log(2 * np.pi * var[book].astype(float))
                expected += np.logaddexp.reduce(np.log(weight[senone]) - 0.5 * distance.sum(axis=1))
            assert log_density == pytest.approx(expected, rel=1e-4)  # float32 sums of up to thousands


def test_a_triphone_is_looked_up_in_its_place_then_in_others_then_beside_silence(files: SphinxFiles) -> None:
    triphones = _Triphones(files.definition)
    number = triphones.number

    def row(phone: str, left: str, right: str, position: str) -> int:
        return triphones.row(number[phone], number[left], number[right], POSITIONS.index(position))

    known = dict(zip(files.definition.triphone_codes.tolist(), files.definition.triphone_rows, strict=True))

    def exact(phone: str, left: str, right: str, position: str) -> int | None:
        return known.get(
            files.definition.code(number[phone], number[left], number[right], POSITIONS.index(position))
        )

    assert row("AE", "K", "T", "i") == exact("AE", "K", "T", "i")
    assert exact("ZH", "ZH", "ZH", "i") is None
    assert row("ZH", "ZH", "ZH", "i") == number["ZH"]
    elsewhere = beside_silence = 0
    for left in number:
        for right in number:
            wanted = ("OY", left, right, "b")
            if exact(*wanted) is None and (other := exact("OY", left, right, "i")) is not None:
                assert row(*wanted) == other
                elsewhere += 1
            if all(exact("OY", left, right, place) is None for place in POSITIONS) and (
                (other := exact("OY", "SIL", right, "b")) is not None
            ):
                assert row(*wanted) == other
                beside_silence += 1
    assert min(elsewhere, beside_silence) > 10


def _errors(alignments: Sequence[Alignment], truth: dict[str, Tiers]) -> Any:
    return summarize_boundaries(
        boundary_errors(truth[item.id].phones, [phone[:3] for phone in item.phones]) for item in alignments
    )


def test_a_model_of_sphinx_aligns(
    sphinx_folder: Path, corpus: Corpus, truth: dict[str, Tiers], lexicon: Lexicon
) -> None:
    aligner = CorpusAligner.load(f"sphinx:{sphinx_folder}", lexicon=lexicon)
    assert aligner.phones == ("AA", "EH", "HH", "IY", "M", "S", "SH", "UW", "Z")
    alignments = aligner.align(corpus)
    assert all(item.ok for item in alignments)
    found = _errors(alignments, truth)
    assert found.mean < 0.012
    assert found.within[0.025] > 0.9
    # One utterance gives the same as all.
    assert aligner.align(corpus.utterances[3]) == alignments[3]


def test_a_model_of_sphinx_stays_in_its_files(sphinx_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    aligner = CorpusAligner.load(f"sphinx:{sphinx_folder}")
    with pytest.raises(TypeError, match="must be one that this package has trained"):
        aligner.save(tmp_path / "model.safetensors")
    with pytest.raises(TypeError, match="must be one that this package has trained"):
        CorpusAligner.train(corpus, initial=aligner)


def test_a_name_without_model_is_refused(
    en_us: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(f"sphinx:{en_us}") == en_us
    with pytest.raises(ModelFileError, match='must follow, as in "sphinx:en-us"'):
        CorpusAligner.load("sphinx:")
    with pytest.raises(ModelFileError, match="no such model, but en-us; or give a folder"):
        CorpusAligner.load("sphinx:xx")
    with pytest.raises(ModelFileError, match="must be the folder of a Sphinx acoustic model"):
        CorpusAligner.load(f"sphinx:{tmp_path / 'nothing'}")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ImportError, match=re.escape('pip install "hmm-align[sphinx]"')):
        CorpusAligner.load("sphinx:en-us")


def test_streams_must_be_those_of_the_features(
    sphinx_folder: Path, tmp_path: Path, sphinx_parameters: Callable[..., bytes]
) -> None:
    shutil.copytree(sphinx_folder, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "feat.params").open("a", encoding="utf-8") as file:
        file.write("-svspec 0-12/13-38\n")
    with pytest.raises(
        ModelFileError, match=r"means: its streams must have the dimensions \(13, 26\); got \(39,\)"
    ):
        SphinxModel(tmp_path)
    with (tmp_path / "feat.params").open("a", encoding="utf-8") as file:
        file.write("-svspec 0-38\n")
    matrix = np.random.default_rng(0).normal(size=(39, 39)).astype(np.float32)
    (tmp_path / "feature_transform").write_bytes(sphinx_parameters([1, 39, 39, 39 * 39], matrix))
    assert SphinxModel(tmp_path).feature_dim == 39
    matrix = matrix[:20]
    cepstra = np.random.default_rng(1).normal(size=(9, 13))
    expected = FrontEnd({"cmn": "none"}, None, OPTIONS).features(cepstra) @ torch.from_numpy(matrix).T
    found = FrontEnd({"cmn": "none", "ldadim": "20"}, matrix, OPTIONS).features(cepstra)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # float32 sums of 39
    with pytest.raises(ModelFileError, match="-feat 1s_c_d has 26 features; the transform reads 39"):
        FrontEnd({"feat": "1s_c_d"}, matrix, OPTIONS)


@pytest.mark.parametrize(
    ("kind", "dims"),
    [("1s_c", (13,)), ("1s_c_d", (26,)), ("1s_c_d_dd", (39,)), ("1s_c_d_ld_dd", (52,)),
     ("s3_1x39", (39,)), ("s2_4x", (12, 24, 3, 12))],
)  # fmt: skip
def test_slopes_are_differences_of_frames(kind: str, dims: tuple[int, ...]) -> None:
    front_end = FrontEnd({"feat": kind, "cmn": "none"}, None, OPTIONS)
    assert front_end.stream_dims == dims
    # Along c[t] = t^2: the slope c[t+2] - c[t-2] is 8 t, the long one 16 t, the slope's slope 16.
    time = torch.arange(20.0)
    features = front_end.features((time**2).double().numpy()[:, None].repeat(13, 1))[5:15]
    first = {"1s_c": (), "1s_c_d": (8,), "1s_c_d_dd": (8, None), "1s_c_d_ld_dd": (8, 16, None)}
    if kind in first:
        for number, factor in enumerate(first[kind], start=1):
            expected = time[5:15] * factor if factor else torch.full((10,), 16.0)
            assert torch.equal(features[:, 13 * number], expected)
    elif kind == "s3_1x39":
        assert features[0].tolist() == [25.0] * 12 + [40.0] * 12 + [25.0, 40.0, 16.0] + [16.0] * 12
    else:
        assert (
            features[0].tolist() == [25.0] * 12 + [40.0] * 12 + [80.0] * 12 + [25.0, 40.0, 16.0] + [16.0] * 12
        )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"feat": "lpc"}, "-feat must be one of 1s_c"),
        ({"agc": "max"}, "-agc must be one of none; got 'max'"),
        ({"warp_params": "1.1"}, "the option -warp_params is not known"),
        ({"nfilt": "many"}, "-nfilt must be a number; got 'many'"),
        ({"nfilt": "inf"}, "-nfilt must be finite"),
        ({"nfilt": "12.5"}, "-nfilt must be a whole number in 13..1024; got 12.5"),
        ({"wlen": "0.001"}, "-wlen must be from a frame's 160 samples to -nfft 16; got 16"),
        ({"upperf": "9000"}, "-lowerf and -upperf must lie in 0..8000"),
        ({"nfilt": "300"}, "-nfilt 300 filters are too narrow for -nfft 512"),
        ({"feat": "s2_4x", "ncep": "12"}, "-feat s2_4x must have -ncep 13; got 12"),
        ({"svspec": "0-12/x"}, "-svspec must be such as 0-12/13-25/26-38; got '0-12/x'"),
        ({"svspec": "3-1"}, "-svspec must name columns"),
        ({"svspec": "0-99"}, "-svspec must name columns"),
    ],
)
def test_options_that_make_no_features_are_refused(options: dict[str, str], reason: str) -> None:
    with pytest.raises(ModelFileError, match=re.escape(f"feat.params: {reason}")):
        FrontEnd(options, None, OPTIONS)


def test_means_and_variances_of_a_recording_can_be_normalised() -> None:
    cepstra = np.random.default_rng(0).normal(3, 2, (50, 13))
    cepstra[:, 0] += 20
    cepstra[7] = -500.0  # a frame of digital silence, which the mean leaves out
    kept = np.delete(cepstra, 7, axis=0)
    found = FrontEnd({"feat": "1s_c"}, None, OPTIONS).features(cepstra).numpy()
    np.testing.assert_allclose(found[:7], cepstra[:7] - kept.mean(axis=0), atol=1e-4)
    found = FrontEnd({"feat": "1s_c", "varnorm": "yes"}, None, OPTIONS).features(kept).numpy()
    np.testing.assert_allclose(found.std(axis=0), 1.0, rtol=1e-4)


@pytest.mark.usefixtures("en_us")
def test_three_lines_align_one_recording_of_english(speech_data: Path) -> None:
    aligner = ForcedAligner.from_pretrained("sphinx:en-us")
    path = speech_data / "ljspeech" / "LJ001-0002.flac"
    alignment = aligner.align("in being comparatively modern.", path)
    assert [word.label for word in alignment.words if word.label] == [
        "in",
        "being",
        "comparatively",
        "modern",
    ]


@pytest.mark.usefixtures("en_us")
def test_english_of_a_voice_never_heard_is_aligned_as_well_as_by_pocketsphinx(speech_data: Path) -> None:
    corpus = read_corpus(speech_data / "synth" / "en_hts")
    aligner = CorpusAligner.load("sphinx:en-us")
    known = [item for item in aligner.align(corpus) if item.ok]
    assert len(known) > 30  # the others have words that the dictionary does not
    truth = {
        item.id: read_textgrid(speech_data / "synth" / "en_hts" / f"{item.id}.TextGrid") for item in known
    }
    found = _errors(known, truth)
    # pocketsphinx's own aligner: 90.4 % and 10.9 ms.
    assert found.within[0.02] > 0.92
    assert found.mean < 0.0095


@pytest.mark.usefixtures("en_us")
def test_a_voice_less_likely_than_silence_is_aligned(speech_data: Path) -> None:
    corpus = read_corpus(speech_data / "synth" / "en_espeak")
    (unlikely,) = (item for item in corpus if item.id == "es_LJ005-0069")
    found = CorpusAligner.load("sphinx:en-us").align(unlikely)
    assert found.ok, found.reason


def test_a_frame_is_centred_where_the_package_centres_it(corpus: Corpus) -> None:
    front_end = FrontEnd({"feat": "1s_c", "cmn": "none"}, None, OPTIONS)
    audio = load_audio(corpus.utterances[0].audio)
    found = front_end(audio)
    assert len(found) == 1 + len(audio.waveform) // 160
    plain = front_end.cepstra(audio.waveform.double().numpy() * 32768)
    # Frame t of Sphinx begins at 160 t, and is centred 205 samples later: between frames t + 1 and t + 2.
    shifted = found[1 : 1 + len(plain)].numpy()
    later = found[2 : 2 + len(plain)].numpy()
    size = min(len(plain), len(later))
    assert np.corrcoef(plain[:size, 1], later[:size, 1])[0, 1] > 0.9
    assert np.corrcoef(plain[:size, 1], shifted[:size, 1])[0, 1] > 0.9


def test_a_long_recording_is_aligned_with_phones_out_of_context(
    files: SphinxFiles, en_us: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = SphinxModel(en_us)
    features = torch.zeros(4, 39)
    scorer = model.scorer(["K", "AE1"], 60_000)
    assert scorer.in_context is not None
    scorer.in_context("AE1", "K", "T", "i")
    num_ci_senones = files.definition.num_ci_senones
    assert scorer.log_emission(features).shape[1] > num_ci_senones + 1
    monkeypatch.setattr("hmm_align.sphinx._model.LONGEST_IN_CONTEXT", 50_000)
    scorer = model.scorer(["K", "AE1"], 60_000)
    assert scorer.in_context is None
    assert scorer.models["AE1"].densities.tolist() == files.definition.states[3].tolist()
    # One place is kept for speech that is none of the words.
    assert scorer.log_emission(features).shape == (4, num_ci_senones + 1)


def _pocketsphinx_phones(decoder: Any, samples: NDArray[np.int16], text: str) -> list[Interval] | None:
    """Return the phones that pocketsphinx finds: words first, then phones inside them."""

    def decode() -> None:
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()

    try:
        decoder.set_align_text(text)
        decode()
        decoder.set_alignment()
        decode()
    except RuntimeError:  # it prunes, and finds no path
        return None
    phones = [phone for word in decoder.get_alignment() for phone in word]
    return [
        Interval(0.01 * phone.start, 0.01 * (phone.start + phone.duration), phone.name.replace("SIL", ""))
        for phone in phones
    ]


def test_what_pocketsphinx_aligns_is_aligned_better_on_its_own_frames(
    speech_data: Path, en_us: Path, tmp_path: Path
) -> None:
    pocketsphinx: Any = pytest.importorskip("pocketsphinx")
    folder, lexicon = speech_data / "synth" / "en_hts", Lexicon.of("en")
    words = {word for item in read_corpus(folder) for word in normalize_text(item.text) if word in lexicon}
    with (tmp_path / "words.dict").open("w", encoding="utf-8") as file:
        for word in sorted(words):
            said = dict.fromkeys(re.sub(r"\d", "", " ".join(phones)) for phones in lexicon.pronounce(word))
            for number, spoken in enumerate(said, start=1):
                file.write(f"{word}{f'({number})' if number > 1 else ''} {spoken}\n")
    decoder = pocketsphinx.Decoder(
        hmm=str(en_us), lm=None, dict=str(tmp_path / "words.dict"), loglevel="FATAL"
    )
    aligner = CorpusAligner.load("sphinx:en-us", lexicon=lexicon)
    ours, theirs = [], []
    for item in read_corpus(folder).utterances[::3]:
        if not words.issuperset(text := normalize_text(item.text)):
            continue
        samples = (load_audio(item.audio, 16_000).waveform.numpy() * 32767).round().astype("<i2")
        found = _pocketsphinx_phones(decoder, samples, " ".join(text))
        if found is None:
            continue
        truth = read_textgrid(folder / f"{item.id}.TextGrid").phones
        theirs.append(boundary_errors(truth, found))
        # Its times are whole frames; of two times on a grid, more are within a tolerance of each other.
        phones = aligner.align(item).phones
        rounded = [Interval(round(phone.start, 2), round(phone.end, 2), phone.label) for phone in phones]
        ours.append(boundary_errors(truth, rounded))
    assert len(theirs) > 7
    better, worse = summarize_boundaries(ours), summarize_boundaries(theirs)
    assert better.mean < worse.mean
    for tolerance in (0.01, 0.02, 0.05):
        assert better.within[tolerance] > worse.within[tolerance]
