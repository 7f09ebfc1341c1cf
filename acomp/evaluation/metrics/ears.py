"""Metrics that predict what listeners say: models of hearing, and networks that learnt ratings."""

from __future__ import annotations

from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from acomp.audio import Audio
from acomp.evaluation.metrics.record import DoesNotApply, Figures, Method, Metric
from acomp.quiet import quiet, without_notice

_SHORTEST_OF_ZIMTOHRLI = 0.25
"""Seconds: of less than a tenth it writes where it must not, and the process may end."""
_LONGEST_OF_VISQOL = 10.0
"""Seconds: its authors ask for clips of 5 to 10."""
_LONGEST_OF_DISTILLMOS = 15.0
"""Seconds: it takes a gigabyte of memory for so much."""


def _zimtohrli(reference: Audio, decoded: Audio) -> float:
    if reference.duration < _SHORTEST_OF_ZIMTOHRLI:
        raise DoesNotApply("too short")
    from zimtohrli import mos_from_signals

    return float(mos_from_signals(reference.samples[0], decoded.samples[0]))


def _visqol_speech(reference: Audio, decoded: Audio) -> float:
    return _visqol("speech", reference, decoded)


def _visqol_audio(reference: Audio, decoded: Audio) -> float:
    return _visqol("audio", reference, decoded)


def _visqol(mode: Literal["speech", "audio"], reference: Audio, decoded: Audio) -> float:
    _refuse_silence(decoded)
    import numba

    numba.set_num_threads(1)
    pair = reference.samples[0], decoded.samples[0]
    try:
        with quiet():
            found = _judge(mode).measure_from_arrays(*pair, reference.sample_rate)
    except (ValueError, IndexError) as problem:  # fewer frames than one of its patches has
        raise DoesNotApply("too short") from problem
    return float(found.moslqo)


@cache
def _judge(mode: Literal["speech", "audio"]) -> Any:
    from visqol import VisqolApi

    judge = VisqolApi()
    with without_notice():
        judge.create(mode=mode, use_lattice_model=mode == "speech")
    return judge


def _refuse_silence(decoded: Audio) -> None:
    """Those that listen to the decoded speech alone give silence more than many a codec."""
    if not decoded.samples.any():
        raise DoesNotApply("decoded to silence")


def _dnsmos(_: Audio, decoded: Audio) -> Figures:
    _refuse_silence(decoded)
    samples = np.clip(decoded.samples[0], -1, 1)  # it refuses what is louder
    found = _dnsmos_model()(samples, decoded.sample_rate, is_personalized_MOS=False)
    return {f"dnsmos_{name}": float(found[f"{name}_mos"]) for name in ("sig", "bak", "ovrl")}


@cache
def _dnsmos_model() -> Any:
    """The model of P.835 (and of P.808, which it cannot do without), each on one thread."""
    from onnxruntime import InferenceSession, SessionOptions
    from speechmos import dnsmos

    folder = Path(dnsmos.__file__).parent / "dnsmos_models"
    ratings, overall = str(folder / "sig_bak_ovr.onnx"), str(folder / "model_v8.onnx")
    model = dnsmos.DNSMOS(ratings, overall)
    options = SessionOptions()
    options.intra_op_num_threads = 1
    model.onnx_sess = InferenceSession(ratings, options)
    model.p808_onnx_sess = InferenceSession(overall, options)
    return model


def _distillmos(_: Audio, decoded: Audio) -> float:
    _refuse_silence(decoded)
    import torch

    with torch.inference_mode():
        return float(_distillmos_model()(torch.from_numpy(decoded.samples)))


@cache
def _distillmos_model() -> Any:
    from acomp.torchaudio import ensure_torchaudio

    ensure_torchaudio()
    from distillmos import ConvTransformerSQAModel

    with redirect_stdout(StringIO()):  # it prints where its weights are
        return ConvTransformerSQAModel().eval()


def _speaker(reference: Audio, decoded: Audio) -> float:
    return float(_voice(reference) @ _voice(decoded))


def _voice(audio: Audio) -> Any:
    """The embedding of the voice, of length 1."""
    with quiet():
        from resemblyzer import preprocess_wav

        spoken = preprocess_wav(np.clip(audio.samples[0], -1, 1))
    if not spoken.any():
        raise DoesNotApply("no voice found")
    return _voice_encoder().embed_utterance(spoken)


@cache
def _voice_encoder() -> Any:
    from resemblyzer import VoiceEncoder

    return VoiceEncoder("cpu", verbose=False)


_DNSMOS = Method(
    compute=_dnsmos,
    content="speech",
    sample_rate=16_000,
    channels="mixed",
    longest=None,
    packages=("speechmos", "onnxruntime", "librosa"),
    extra="eval-full",
    cost="slow",
)


def _of_dnsmos(name: str, short: str, about: str) -> Metric:
    return Metric(
        name=f"dnsmos_{name}",
        label=f"DNSMOS {short}",
        short=short,
        unit="MOS",
        higher_is_better=True,
        digits=2,
        about=f"{about} (DNSMOS P.835, C. Reddy et al., 2022), of the decoded speech alone",
        method=_DNSMOS,
    )


METRICS = (
    Metric(
        name="zimtohrli",
        label="Zimtohrli",
        short="Zimt",
        unit="MOS",
        higher_is_better=True,
        digits=2,
        about="Zimtohrli (J. Alakuijala et al., 2025): spectrograms of a model of the ear, "
        "compared by their structure; 1 to 5",
        method=Method(
            compute=_zimtohrli,
            sample_rate=48_000,
            channels="each",
            packages=("zimtohrli",),
            extra="eval-full",
            cost="slow",
        ),
    ),
    Metric(
        name="visqol_speech",
        label="ViSQOL speech",
        short="ViSp",
        unit="MOS-LQO",
        higher_is_better=True,
        digits=2,
        about="ViSQOL 3 in its mode for speech, by its lattice network (M. Chinen et al., 2020); "
        "1 to 5",
        method=Method(
            compute=_visqol_speech,
            content="speech",
            sample_rate=16_000,
            channels="mixed",
            longest=_LONGEST_OF_VISQOL,
            packages=("visqol", "ai_edge_litert", "numba"),
            extra="eval-full",
            cost="slow",
        ),
    ),
    Metric(
        name="visqol_audio",
        label="ViSQOL audio",
        short="ViAu",
        unit="MOS-LQO",
        higher_is_better=True,
        digits=2,
        about="ViSQOL 3 in its mode for all audio (M. Chinen et al., 2020); 1 to 4.75",
        method=Method(
            compute=_visqol_audio,
            sample_rate=48_000,
            channels="mixed",
            longest=_LONGEST_OF_VISQOL,
            packages=("visqol", "numba"),
            extra="eval-full",
            cost="slow",
        ),
    ),
    _of_dnsmos("sig", "SIG", "how good the voice itself sounds"),
    _of_dnsmos("bak", "BAK", "how little the background disturbs"),
    _of_dnsmos("ovrl", "OVRL", "how good all of it sounds"),
    Metric(
        name="distillmos",
        label="DistillMOS",
        short="DiMOS",
        unit="MOS",
        higher_is_better=True,
        digits=2,
        about="DistillMOS (B. Stahl and H. Gamper, 2025), 1 to 5, of the decoded speech alone",
        method=Method(
            compute=_distillmos,
            content="speech",
            sample_rate=16_000,
            channels="mixed",
            longest=_LONGEST_OF_DISTILLMOS,
            packages=("distillmos", "xls_r_sqa"),
            extra="eval-full",
            cost="slow",
        ),
    ),
    Metric(
        name="speaker",
        label="speaker similarity",
        short="voice",
        higher_is_better=True,
        digits=3,
        about="cosine between Resemblyzer's embeddings of the two voices (GE2E, L. Wan et al., "
        "2018), at most 1",
        method=Method(
            compute=_speaker,
            content="speech",
            sample_rate=16_000,
            channels="mixed",
            packages=("resemblyzer", "webrtcvad", "librosa"),
            extra="eval-full",
            cost="slow",
        ),
    ),
)
