"""Every codec keeps what `acomp.testing` asks of it, and codecs that are broken are caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import (
    QUANTISED,
    SMALL,
    encodec_model,
    lively,
    save_encodec,
)
from commands import make_home
from material import LYRA, material
from third_party.tiny_codec import HOP, SPEC, Tiny, TinyDecoder, TinyEncoder

import acomp
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.backends.weights.checkpoint import save_weights
from acomp.codecs import PUBLISHED, CodecSpec
from acomp.codes import Block, Codes, CodesInfo, empty_block
from acomp.engines import Engine, pick_engine
from acomp.testing import CodecConformance


@dataclass(frozen=True)
class Case:
    """A codec that must conform, and how it is kept quick."""

    load: Callable[[Path], Codec]
    """Loads it; a folder is for its weights."""
    frames: int | None = None
    """Of sound; as many as its delay asks for, where it is None."""
    blocks: Mapping[str, int] = field(default_factory=dict)
    """Lengths of blocks in acomp.backends, for a short sound to have several."""
    needs: str = "torch"
    """A package."""
    latents: bool = True
    """Whether it lets them out."""


def encodec(name: str, folder: Path) -> Codec:
    return acomp.load(
        name, weights=save_encodec(encodec_model(name), folder / "w.th"), engine="torch"
    )


def custom(name: str, folder: Path) -> Codec:
    path = folder / "w.safetensors"
    shape = {**SMALL, **QUANTISED}[name]
    save_weights(path, lively(shape).state_dict(), shape)
    return acomp.load("custom", weights=path, engine="torch")


def soundstream(_: Path) -> Codec:
    return acomp.load("soundstream", weights=material(LYRA))


def snac(name: str, folder: Path) -> Codec:
    from snac_models import SMALL as SNACS, lively as lively_snac, spec_of

    from acomp.backends.snac.codec import load

    path = folder / "pytorch_model.bin"
    torch.save(lively_snac(SNACS[name]).state_dict(), path)
    return load(spec_of(SNACS[name]), SNACS[name], path, pick_engine("torch"))


def mimi(folder: Path) -> Codec:
    from mimi_models import small_mimi

    small_mimi().save_pretrained(folder)
    return acomp.load("mimi", weights=folder, engine="torch")


def tiny(_: Path | None = None) -> Codec:
    return Tiny(SPEC, None)


ENCODEC_BLOCKS = {"encodec.causal.BLOCK_FRAMES": 10, "encodec.causal.LSTM_FRAMES": 25}
BOTH_SIDES = {"encodec.shape.BLOCK_FRAMES": 8}
CASES = {
    "nano-1": Case(
        lambda _: acomp.load("nano-1", engine="torch"), 60, {"nano.streams.BLOCK_FRAMES": 25}
    ),
    "nano-2": Case(
        lambda _: acomp.load("nano-2", engine="torch"), 60, {"nano.streams.BLOCK_FRAMES": 25}
    ),
    "nano-2 on openvino": Case(
        lambda _: acomp.load("nano-2", engine="openvino"),
        60,
        {"nano.streams.BLOCK_FRAMES": 25},
        needs="openvino",
    ),
    "encodec-24khz": Case(partial(encodec, "encodec-24khz"), 60, ENCODEC_BLOCKS),
    "encodec-48khz": Case(partial(encodec, "encodec-48khz"), 170, ENCODEC_BLOCKS, latents=False),
    "custom causal": Case(partial(custom, "causal"), 100, ENCODEC_BLOCKS),
    "custom causal stereo": Case(partial(custom, "causal stereo"), 100, ENCODEC_BLOCKS),
    "custom segments": Case(partial(custom, "segments"), latents=False),
    "custom both sides": Case(partial(custom, "both sides"), blocks=BOTH_SIDES),
    "custom factorised": Case(partial(custom, "factorised"), 100, ENCODEC_BLOCKS),
    "custom fsq": Case(partial(custom, "fsq"), 100, ENCODEC_BLOCKS),
    "custom gumbel": Case(partial(custom, "gumbel"), 60, ENCODEC_BLOCKS),
    "custom vq": Case(partial(custom, "vq"), 60, ENCODEC_BLOCKS),
    # In blocks of the true lengths, for the delay to be the true one.
    "custom dac": Case(partial(custom, "dac"), needs="dac"),
    "custom dac of odd strides": Case(partial(custom, "dac of odd strides"), needs="dac"),
    "snac": Case(partial(snac, "plain"), needs="snac"),
    "snac with attention": Case(partial(snac, "windows"), needs="snac"),
    "mimi": Case(mimi, 25, needs="transformers"),
    "soundstream": Case(soundstream, needs="ai_edge_litert"),
    "somebody else's": Case(tiny, latents=False),
}
"""One line for each codec of acomp's."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache, but for the compiled networks of all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACOMP_CACHE", str(make_home(tmp_path_factory.mktemp("cache"))))
        yield


def test_every_family_conforms() -> None:
    """Of families whose published networks are large, a small one; a case's name has its family."""
    families = {codec.family for codec in PUBLISHED.values()}
    assert {each for each in families if not any(each in name for name in CASES)} == set()


class TestEveryCodec(CodecConformance):
    case: Case

    @pytest.fixture(scope="class", params=CASES)
    @classmethod
    def codec(
        cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Codec]:
        cls.case = CASES[request.param]
        # Not `importorskip`, which would import OpenVINO with its telemetry.
        if find_spec(cls.case.needs) is None:
            pytest.skip(f"the package {cls.case.needs} is not installed")
        with pytest.MonkeyPatch.context() as patch:
            for name, length in cls.case.blocks.items():
                patch.setattr(f"acomp.backends.{name}", length)
            yield cls.case.load(tmp_path_factory.mktemp("weights"))

    def frames(self, codec: Codec) -> int:
        return self.case.frames or super().frames(codec)

    def lets_latents_out(self, codec: Codec) -> bool:  # noqa: ARG002
        return self.case.latents


# Broken codecs: the example, each spoilt in one way, and the test that must not let it pass.


class Custom(Tiny):
    """The example with other streams."""

    def __init__(
        self,
        encoder: Callable[[CodesInfo], TinyEncoder] = TinyEncoder,
        decoder: Callable[[CodesInfo], TinyDecoder] = TinyDecoder,
        spec: CodecSpec = SPEC,
        fingerprint: str | None = None,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(spec, fingerprint, engine)
        self._encoder = encoder
        self._decoder = decoder

    def stream_encoder(self, info: CodesInfo) -> TinyEncoder:
        return self._encoder(info)

    def stream_decoder(self, info: CodesInfo) -> TinyDecoder:
        return self._decoder(info)


class Forgetful(TinyEncoder):
    """Begins anew with each push."""

    def push(self, samples: Samples) -> Block:
        self.rest = self.rest[:, :0] if samples.shape[1] > HOP else self.rest
        return super().push(samples)


class Leaking(TinyEncoder):
    """Loses what comes in drops."""

    def push(self, samples: Samples) -> Block:
        return super().push(samples[:, : 0 if samples.shape[1] < HOP else None])


class Hasty(TinyEncoder):
    """Takes a push of nothing for the end."""

    def push(self, samples: Samples) -> Block:
        return super().push(samples) if samples.shape[1] else super().finish()


class Common(TinyEncoder):
    """All streams have one buffer."""

    buffers: dict[int, Any] = {}  # noqa: RUF012 - the fault itself

    def push(self, samples: Samples) -> Block:
        self.rest = self.buffers.get(len(samples), self.rest)
        block = super().push(samples)
        self.buffers[len(samples)] = self.rest
        return block

    def finish(self) -> Block:
        block = super().finish()
        self.buffers.clear()
        return block


class Dithering(TinyEncoder):
    """Not the same twice."""

    def push(self, samples: Samples) -> Block:
        noise = np.random.default_rng().normal(0, 0.1, samples.shape)
        return super().push((samples + noise).astype(np.float32))


class Drawing(TinyEncoder):
    """Uses up random numbers that others may count on."""

    def push(self, samples: Samples) -> Block:
        np.random.random()
        return super().push(samples)


class Hoarding(TinyEncoder):
    """Keeps all that it was given."""

    def __init__(self, info: CodesInfo) -> None:
        super().__init__(info)
        self.all: list[Samples] = []

    def push(self, samples: Samples) -> Block:
        self.all.append(samples.copy())
        return super().push(samples)


class Late(TinyEncoder):
    """Holds back two frames that it has."""

    def push(self, samples: Samples) -> Block:
        held = self.rest.shape[1] + samples.shape[1]
        if held < 4 * HOP:
            self.rest = np.concatenate([self.rest, samples], axis=1)
            return Block(np.zeros((len(samples), self.lines, 0), np.uint16))
        return super().push(samples)


class Short(TinyEncoder):
    """Leaves out the end."""

    def finish(self) -> Block:
        return Block(super().finish().data[..., :0])


class Wordy(TinyEncoder):
    """Adds silence, frames of it."""

    def finish(self) -> Block:
        return Block(np.pad(super().finish().data, ((0, 0), (0, 0), (0, 9))))


class Mute(TinyEncoder):
    """One code for everything."""

    def push(self, samples: Samples) -> Block:
        return Block(np.zeros_like(super().push(samples).data))


class Narrow(TinyEncoder):
    """Codes of a codebook less."""

    def push(self, samples: Samples) -> Block:
        return Block(super().push(samples).data[:, :-1])


class Mixing(TinyEncoder):
    """The left channel is heard on the right."""

    def push(self, samples: Samples) -> Block:
        return super().push((samples + 0.3 * samples[:1]).astype(np.float32))


class Amnesic(TinyDecoder):
    """No block knows of the one before."""

    def push(self, block: Block) -> Samples:
        self.last = np.zeros_like(self.last[..., :1])
        return super().push(block)


class Dividing(TinyDecoder):
    """Nothing is left of silence but no number."""

    def push(self, block: Block) -> Samples:
        samples = super().push(block)
        with np.errstate(invalid="ignore"):
            samples /= np.abs(samples).max() / np.abs(samples).max()
        return samples


class Cut(TinyDecoder):
    """Gives a half of each block."""

    def push(self, block: Block) -> Samples:
        samples = super().push(block)
        return samples[:, : samples.shape[1] // 2]


class Lenient(Custom):
    """Takes any number of codebooks for what it has."""

    def info(self, audio: Any, **settings: Any) -> CodesInfo:
        if settings.get("codebooks") is not None:
            settings["codebooks"] = min(max(1, settings["codebooks"]), self.spec.codebooks)
        return super().info(audio, **settings)


class Blunt(Custom):
    """Refuses, but not as acomp does."""

    def info(self, audio: Any, **settings: Any) -> CodesInfo:
        if (settings.get("codebooks") or 1) < 1:
            raise ValueError("codebooks")
        return super().info(audio, **settings)


class Chatty(Custom):
    """Refuses in two lines."""

    def info(self, audio: Any, **settings: Any) -> CodesInfo:
        if audio.channels == 3:
            raise acomp.AudioError("three channels\nare too many")
        return super().info(audio, **settings)


class Silent(Custom):
    """Takes sound of no samples."""

    def encode(self, audio: acomp.Audio, **settings: Any) -> Codes:
        info = self.info(audio, **settings)
        return (
            super().encode(audio, **settings)
            if audio.length
            else Codes(info, empty_block(info).data, 0)
        )


class Nameless(Custom):
    """Its codes say another codec."""

    def info(self, audio: Any, **settings: Any) -> CodesInfo:
        return replace(super().info(audio, **settings), hop_length=HOP * 2)


class Trusting(Custom):
    """Decodes whatever it is given."""

    def check(self, info: CodesInfo) -> None:
        pass


class Padding(Custom):
    """Batches as long as their longest clip."""

    def encode_batch(self, clips: Sequence[acomp.Audio], **settings: Any) -> Any:
        most = max((clip.length for clip in clips), default=0)
        return [
            self.encode(
                replace(clip, samples=np.pad(clip.samples, ((0, 0), (0, most - clip.length)))),
                **settings,
            )
            for clip in clips
        ]


class Shrinking(Custom):
    """Its copies have fewer settings."""

    def __copy__(self) -> Codec:
        return Custom(spec=replace(SPEC, bandwidths={24: 8}))


class Lost(Custom):
    """Seeks a frame too far."""

    def seek(self, sample: int) -> tuple[int, int]:
        frame, first = super().seek(sample)
        return frame + 1, first


class Slow(Custom):
    """Decodes all that comes before."""

    def seek(self, sample: int) -> tuple[int, int]:  # noqa: ARG002
        return 0, 0


class Bookless(Custom):
    """Its codebooks are those of one line."""

    def codebooks(self) -> Samples:
        books: Samples = super().codebooks()[0]
        return books


BROKEN: list[tuple[Callable[[], Codec], str]] = [
    (partial(Custom, spec=replace(SPEC, bandwidths={24: 16})), "the_spec_is_sound"),
    (partial(Custom, spec=replace(SPEC, bandwidths={})), "the_spec_is_sound"),
    (partial(Custom, spec=replace(SPEC, levels=(1, 2, 4))), "the_spec_is_sound"),
    (partial(Custom, spec=replace(SPEC, delay=-1.0)), "the_spec_is_sound"),
    (Nameless, "codes_say_what_the_spec_says"),
    (partial(Custom, fingerprint="weights"), "the_fingerprint_names_the_weights"),
    (Bookless, "the_codebooks_are_what_the_spec_says"),
    (partial(Custom, Narrow), "every_bandwidth_has_its_codebooks"),
    (partial(Custom, Short), "any_number_of_codebooks_is_taken"),
    (Lenient, "settings_that_it_does_not_have_are_refused"),
    (Blunt, "settings_that_it_does_not_have_are_refused"),
    (Silent, "no_samples_are_refused"),
    (partial(Custom, Wordy), "sound_of_any_length_and_rate_comes_back_as_long"),
    (partial(Custom, decoder=Cut), "sound_of_any_length_and_rate_comes_back_as_long"),
    (partial(Custom, decoder=Dividing), "silence_is_coded"),
    (partial(Custom, Mixing), "channels_are_kept_mixed_or_refused"),
    (Chatty, "channels_are_kept_mixed_or_refused"),
    (partial(Custom, Dithering), "the_same_sound_has_the_same_codes"),
    (partial(Custom, Mute), "the_same_sound_has_the_same_codes"),
    (partial(Custom, Forgetful), "pushes_of_any_size_give_the_same_codes"),
    (partial(Custom, Leaking), "pushes_of_any_size_give_the_same_codes"),
    (partial(Custom, Hasty), "single_samples_of_another_rate_give_the_same_codes"),
    (partial(Custom, decoder=Amnesic), "blocks_of_any_size_give_the_same_samples"),
    (partial(Custom, Common), "streams_side_by_side_do_not_disturb_each_other"),
    (partial(Custom, Drawing), "settings_of_torch_change_nothing"),
    (Shrinking, "copies_code_alike"),
    (partial(Custom, Late), "the_delay_is_no_longer_than_the_spec_says"),
    (partial(Custom, Hoarding), "a_stream_does_not_grow"),
    (Lost, "decoding_from_the_middle_sounds_as_from_the_beginning"),
    (Slow, "decoding_from_the_middle_sounds_as_from_the_beginning"),
    (Trusting, "codes_of_others_are_refused"),
    (Padding, "a_batch_gives_what_each_clip_gets_alone"),
]


@pytest.mark.parametrize(("make", "test"), BROKEN)
def test_a_broken_codec_is_caught(make: Callable[[], Codec], test: str) -> None:
    check = getattr(CodecConformance(), f"test_{test}")
    check(tiny())
    with pytest.raises((AssertionError, acomp.AcompError)) as failure:
        check(make())
    assert str(failure.value), "a failure without a word"


class Refusing(CodecConformance):
    def lets_latents_out(self, codec: Codec) -> bool:  # noqa: ARG002
        return False


def test_latents_are_what_their_test_was_told() -> None:
    nano = acomp.load("nano-2", engine="torch")
    for name in ("are_the_numbers_that_are_quantised", "of_codes_decode_as_the_codes_do"):
        test = f"test_latents_{name}"
        with pytest.raises(acomp.CodecError, match="does not let its latents out"):
            getattr(CodecConformance(), test)(tiny())
        with pytest.raises(AssertionError, match="latents was not refused"):
            getattr(Refusing(), test)(nano)
