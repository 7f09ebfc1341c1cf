"""The tests that every codec must pass."""

from __future__ import annotations

import copy
import math
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.backends.latents import LatentDecoder, LatentEncoder
from acomp.backends.streaming import Decoder, Encoder
from acomp.codecs import PUBLISHED
from acomp.codes import Block, Codes, split, tail
from acomp.errors import AudioError, CodecError, FormatError
from acomp.formats import read_codes, write_codes
from acomp.formats.registry import FORMS
from acomp.testing.checks import (
    bad_blocks,
    bad_samples,
    bytes_held,
    check_bandwidths,
    check_close,
    check_codes,
    check_late_seek,
    check_levels,
    check_refusal,
    check_sound,
    check_they_vary,
    cuts_of,
    decode_in,
    encode_in,
    is_steady,
    random_states,
    silence_of,
    strangers_to,
    sweep,
    torch_settings,
)

SEEK_TOLERANCE = 1e-3
"""Largest difference of samples after a warm-up of `preroll`, relative to full scale. It is larger
than `tolerance` because networks forget slowly."""


class CodecConformance:
    """The tests that a codec must pass.

    A subclass provides the fixture `codec`, and may override the methods that are no tests to set
    what is allowed.
    """

    def frames(self, codec: Codec) -> int:
        """Number of frames that streams are tested with, several of the blocks of a codec."""
        spec = codec.spec
        return max(40, math.ceil(max(0.25, 1.5 * spec.delay) * spec.frame_rate) + 10)

    def agreement(self, codec: Codec) -> float:
        """Share of codes, 0 to 1, that must agree when the same audio is encoded in two ways.

        It is 1, except on an engine that is not steady: there sums may be rounded differently, so
        that either of two almost equally near entries of a codebook may be chosen.
        """
        return 1.0 if is_steady(codec) else 0.99

    def tolerance(self, codec: Codec) -> float:
        """Largest difference of samples when the same codes are decoded in two ways.

        It is relative to full scale, or to the peak if that is higher.
        """
        return 1e-5 if is_steady(codec) else 1e-4

    def lets_latents_out(self, codec: Codec) -> bool:  # noqa: ARG002
        """Whether the codec has `latents` and `decode_latents`; otherwise it must refuse them."""
        return True

    # What the codec says of itself.

    def test_the_spec_is_sound(self, codec: Codec) -> None:
        spec = codec.spec
        assert spec.channels in (1, 2), f"{spec.channels} channels: networks have 1 or 2"
        assert not (spec.channels == 2 and spec.stereo_streams), (
            "channels that are coded jointly are one stream: stereo_streams is for mono networks"
        )
        assert spec.hop_length <= spec.sample_rate, "a frame lasts more than a second"
        assert spec.codebook_dim >= 1, f"codebook_dim is {spec.codebook_dim}"
        assert math.isfinite(spec.delay) and spec.delay >= 0, f"delay is {spec.delay} s"
        assert math.isfinite(codec.preroll) and codec.preroll >= 0, f"preroll: {codec.preroll} s"
        check_levels(spec)
        check_bandwidths(spec)

    def test_codes_say_what_the_spec_says(self, codec: Codec) -> None:
        spec = codec.spec
        info = codec.info(sweep(codec, 1))
        for name in ("sample_rate", "hop_length", "codebook_size"):
            found, expected = getattr(info, name), getattr(spec, name)
            assert found == expected, f"{name} is {found} in the codes, {expected} in the spec"
        assert info.codec == spec.name, f"the codes are called {info.codec}, not {spec.name}"
        default = spec.codebooks_for(None, None)
        assert info.codebooks == default, f"{info.codebooks} codebooks by default, not {default}"

    def test_the_fingerprint_names_the_weights(self, codec: Codec) -> None:
        mark = codec.fingerprint
        assert mark is None or re.fullmatch("[0-9a-f]{16}", mark), (
            f"fingerprint is {mark!r}, not 16 hexadecimal digits or None"
        )
        found = codec.info(sweep(codec, 1)).fingerprint
        assert found == mark, f"the codes have the fingerprint {found}, the codec {mark}"

    def test_the_codebooks_are_what_the_spec_says(self, codec: Codec) -> None:
        spec = codec.spec
        books, latent = codec.codebooks(), codec.latent_codebooks()
        expected = (spec.codebooks, spec.codebook_size, spec.codebook_dim)
        assert books.shape == expected, f"codebooks() is {books.shape}, not {expected}"
        assert latent.shape[:2] == expected[:2], f"latent_codebooks() is {latent.shape}"
        for name, array in (("codebooks", books), ("latent_codebooks", latent)):
            assert array.dtype == np.float32, f"{name}() is {array.dtype}, not float32"
            assert np.isfinite(array).all(), f"{name}() has numbers that are not finite"

    # Settings

    def test_every_bandwidth_has_its_codebooks(self, codec: Codec) -> None:
        spec, sound = codec.spec, sweep(codec, 5)
        for kbps, codebooks in spec.bandwidths.items():
            codes = codec.encode(sound, bandwidth=kbps)
            check_codes(codec, codes, sound, codebooks)
            again = codec.encode(sound, codebooks=codebooks)
            self._same_codes(codec, again, codes, f"{kbps:g} kbps and {codebooks} codebooks")

    def test_any_number_of_codebooks_is_taken(self, codec: Codec) -> None:
        sound, counts = sweep(codec, 5), codec.spec.codebook_counts
        for codebooks in sorted({counts[0], counts[len(counts) // 2], counts[-1]}):
            codes = codec.encode(sound, codebooks=codebooks)
            check_codes(codec, codes, sound, codebooks)
            check_sound(codec.decode(codes), sound, codes.info.channels)

    def test_the_first_codebooks_are_those_of_fewer(self, codec: Codec) -> None:
        """So the spec says (`nested`), and `Codes.thin` relies on it."""
        sound, counts = sweep(codec, 12), codec.spec.codebook_counts
        if not codec.spec.nested:
            return
        codes = codec.encode(sound, codebooks=counts[-1])
        for count in sorted({counts[0], counts[len(counts) // 2]}):
            fewer = codec.encode(sound, codebooks=count)
            thin = codes.thin(count, codec=codec.spec)
            assert thin.info == fewer.info, f"thinned codes are of {thin.info}, not {fewer.info}"
            same = float((thin.data == fewer.data).mean())
            assert same >= self.agreement(codec), f"{same:.1%} of the codes are the same"

    def test_settings_that_it_does_not_have_are_refused(self, codec: Codec) -> None:
        spec, sound = codec.spec, sweep(codec, 1)
        for kbps in (0.0, -1.0, 1.5 * max(spec.bandwidths), math.nan):
            check_refusal(CodecError, partial(codec.encode, sound, bandwidth=kbps), f"{kbps} kbps")
        wrong = sorted({-1, 0, *range(1, spec.codebooks + 2)} - set(spec.codebook_counts))
        for count in wrong:
            check_refusal(
                CodecError, partial(codec.encode, sound, codebooks=count), f"{count} codebooks"
            )
        kbps, count = next(iter(spec.bandwidths.items()))
        both = partial(codec.encode, sound, bandwidth=kbps, codebooks=count)
        check_refusal(CodecError, both, "both settings at once")
        unknown: Any = "five"
        check_refusal(CodecError, partial(codec.encode, sound, channels=unknown), "channels 'five'")

    # Sounds

    def test_no_samples_are_refused(self, codec: Codec) -> None:
        for channels in (1, 2):
            empty = Audio(np.zeros((channels, 0), np.float32), codec.spec.sample_rate)
            check_refusal(AudioError, partial(codec.encode, empty), "audio of no samples")

    def test_sound_of_any_length_and_rate_comes_back_as_long(self, codec: Codec) -> None:
        spec, hop = codec.spec, codec.spec.hop_length
        lengths = {1, 2, hop - 1, hop, hop + 1, 5 * hop // 2} - {0}
        formats = [(spec.sample_rate, length) for length in sorted(lengths)]
        formats += [(rate, length) for rate in (22_050, 48_000) for length in (1, 777)]
        longer = sweep(codec, 3)
        for rate, length in formats:
            samples = np.resize(longer.samples[:1], (1, length))
            sound = Audio(samples, rate)
            codes = codec.encode(sound)
            check_codes(codec, codes, sound, codes.info.codebooks)
            check_sound(codec.decode(codes), sound, codes.info.channels)
        other = codec.decode(codec.encode(longer), sample_rate=11_025)
        expected = math.ceil(longer.length * 11_025 / longer.sample_rate)
        assert (other.sample_rate, other.length) == (11_025, expected), (
            f"decoded to 11025 Hz it is {other.length} samples of {other.sample_rate} Hz, "
            f"not {expected}"
        )

    def test_silence_is_coded(self, codec: Codec) -> None:
        sound = sweep(codec, 6)
        silence = Audio(np.zeros_like(sound.samples), sound.sample_rate)
        codes = codec.encode(silence)
        check_codes(codec, codes, silence, codes.info.codebooks)
        check_sound(codec.decode(codes), silence, codes.info.channels)

    def test_channels_are_kept_mixed_or_refused(self, codec: Codec) -> None:
        spec = codec.spec
        left, right = (sweep(codec, 5, seed=seed).samples[:1] for seed in (1, 2))
        mono = Audio(left, spec.sample_rate)
        stereo = Audio(np.concatenate([left, right]), spec.sample_rate)
        three = Audio(np.concatenate([left, right, left]), spec.sample_rate)
        check_refusal(AudioError, partial(codec.encode, three), "three channels")
        if spec.channels == 2:
            for sound in (mono, stereo):
                check_sound(codec.decode(codec.encode(sound)), sound, 2)
            check_refusal(
                CodecError, partial(codec.encode, stereo, channels="mono"), "channels mono"
            )
            return
        check_sound(codec.decode(codec.encode(three, channels="mono")), mono, 1)
        check_sound(codec.decode(codec.encode(mono)), mono, 1)
        if not spec.stereo_streams:
            check_sound(codec.decode(codec.encode(stereo)), stereo, 1)
            check_refusal(
                CodecError, partial(codec.encode, mono, channels="stereo"), "channels stereo"
            )
            return
        self._check_streams(codec, stereo)

    def _check_streams(self, codec: Codec, stereo: Audio) -> None:
        """Each channel has the codes and the decoded audio that it has alone."""
        both = codec.encode(stereo)
        sound = codec.decode(both)
        check_sound(sound, stereo, 2)
        for index, channel in enumerate(("the left channel", "the right channel")):
            alone = codec.encode(Audio(stereo.samples[index : index + 1], stereo.sample_rate))
            stream = replace(alone, data=both.data[index : index + 1])
            self._same_codes(codec, stream, alone, f"{channel} and the same channel alone")
            self._same_samples(
                codec, sound.samples[index : index + 1], codec.decode(stream).samples, channel
            )

    # Streams

    def test_the_same_sound_has_the_same_codes(self, codec: Codec) -> None:
        """Coding other audio in between leaves no state behind."""
        sound, other = (sweep(codec, 12, seed=seed) for seed in (1, 2))
        first = codec.encode(sound)
        check_they_vary(first)
        heard = codec.decode(first)
        codec.decode(codec.encode(other))
        self._same_codes(codec, codec.encode(sound), first, "the same sound again")
        self._same_samples(codec, codec.decode(first).samples, heard.samples, "codes again")

    def test_pushes_of_any_size_give_the_same_codes(self, codec: Codec) -> None:
        sound = sweep(codec, self.frames(codec))
        whole = codec.encode(sound, codebooks=codec.spec.codebooks)
        check_they_vary(whole)
        for name, cuts in cuts_of(sound.length, codec.spec.hop_length).items():
            pieces = np.split(sound.samples, cuts, axis=1)
            self._same_codes(
                codec, encode_in(codec, whole.info, pieces), whole, f"pushes of {name}"
            )

    def test_single_samples_of_another_rate_give_the_same_codes(self, codec: Codec) -> None:
        """The resampler, which holds samples back for its filter, does not change the codes."""
        spec, rate = codec.spec, 22_050
        length = max(2000, math.ceil(2.5 * spec.hop_length * rate / spec.sample_rate))
        longer = sweep(codec, math.ceil(length / spec.hop_length))
        sound = Audio(longer.samples[:, :length], rate)
        whole = codec.encode(sound)
        pieces = np.split(sound.samples, length, axis=1)
        self._same_codes(codec, encode_in(codec, whole.info, pieces), whole, "single samples")

    def test_blocks_of_any_size_give_the_same_samples(self, codec: Codec) -> None:
        whole = codec.encode(sweep(codec, self.frames(codec)))
        expected = codec.decode(whole).samples
        for frames in (1, 2, 7, 50):
            found = decode_in(codec, whole, split(whole.block, frames))
            self._same_samples(codec, found, expected, f"blocks of {frames} frames")

    def test_streams_side_by_side_do_not_disturb_each_other(self, codec: Codec) -> None:
        counts = codec.spec.codebook_counts
        sounds = [sweep(codec, 12, seed=seed) for seed in (1, 2)]
        alone = [
            codec.encode(sound, codebooks=count)
            for sound, count in zip(sounds, (counts[-1], counts[0]), strict=True)
        ]
        encoders = [Encoder(codec, codes.info) for codes in alone]
        decoders = [Decoder(codec, codes.info) for codes in alone]
        blocks: list[list[Block]] = [[], []]
        heard: list[list[Samples]] = [[], []]
        for pieces in zip(*(np.array_split(s.samples, 9, axis=1) for s in sounds), strict=True):
            for stream, piece in enumerate(pieces):
                blocks[stream].append(encoders[stream].push(piece))
                heard[stream].append(decoders[stream].push(blocks[stream][-1]))
        for stream, codes in enumerate(alone):
            blocks[stream].append(encoders[stream].finish())
            heard[stream].append(decoders[stream].push(blocks[stream][-1]))
            heard[stream].append(decoders[stream].finish(codes.length))
            found = Codes.from_blocks(codes.info, blocks[stream], codes.length)
            self._same_codes(codec, found, codes, "two streams at once")
            samples = np.concatenate(heard[stream], axis=1)
            self._same_samples(codec, samples, codec.decode(found).samples, "two streams at once")

    def test_the_delay_is_no_longer_than_the_spec_says(self, codec: Codec) -> None:
        """Measured in samples at the codec's sample rate, once the first samples have come out, and
        beside the frame that is not complete yet.
        """
        spec = codec.spec
        sound = sweep(codec, self.frames(codec))
        info = codec.info(sound)
        encoder, decoder = codec.stream_encoder(info), codec.stream_decoder(info)
        step = max(1, spec.hop_length // 20)
        given, worst = 0, 0
        for taken in range(step, sound.length, step):
            block = encoder.push(sound.samples[:, taken - step : taken])
            given += decoder.push(block).shape[1] if block.frames else 0
            if given:
                worst = max(worst, taken - given)
        assert given > 0, f"{sound.duration:.2f} s went in, and nothing came out before the end"
        most = spec.delay * spec.sample_rate + spec.hop_length + step
        assert worst <= most, (
            f"the delay reaches {(worst - spec.hop_length) / spec.sample_rate:.4f} s beside the "
            f"frame that is filling; the spec says {spec.delay:.4f} s"
        )

    def test_a_stream_does_not_grow(self, codec: Codec) -> None:
        """Coding the same audio a third time, a stream takes no more memory than the first time."""
        sound = sweep(codec, self.frames(codec), channels=1)
        info = codec.info(sound)
        encoder, decoder = codec.stream_encoder(info), codec.stream_decoder(info)
        held = []
        for _ in range(3):
            sizes = []
            for piece in np.array_split(sound.samples, 6, axis=1):
                block = encoder.push(piece)
                if block.frames:
                    decoder.push(block)
                sizes.append(bytes_held((encoder, decoder)))
            held.append(max(sizes))
        growth = held[-1] - held[0]
        assert growth <= sound.samples.nbytes, (
            f"the streams hold {growth} bytes more after {3 * sound.duration:.1f} s than after "
            f"{sound.duration:.1f} s"
        )

    # Codes

    def test_every_form_of_file_keeps_the_codes(self, codec: Codec) -> None:
        codes = codec.encode(sweep(codec, 12))
        expected = codec.decode(codes).samples
        of_some_codecs = {published.official_form for published in PUBLISHED.values()}
        for form in [each.name for each in FORMS if each.name not in of_some_codecs]:
            file = BytesIO()
            write_codes(file, codes, form=form)
            file.seek(0)
            found = read_codes(file)
            assert found.info == codes.info, f".{form}: {found.info}, not {codes.info}"
            assert found.length == codes.length, f".{form}: {found.length} samples"
            np.testing.assert_array_equal(found.data, codes.data, f"codes of .{form}")
            assert (found.segments is None) == (codes.segments is None), f"segments of .{form}"
            if found.segments is not None and codes.segments is not None:
                np.testing.assert_array_equal(found.segments.frames, codes.segments.frames)
                np.testing.assert_array_equal(found.segments.scales, codes.segments.scales)
            self._same_samples(codec, codec.decode(found).samples, expected, f"codes of .{form}")

    def test_codes_are_cut_and_joined(self, codec: Codec) -> None:
        codes = codec.encode(sweep(codec, self.frames(codec)))
        try:
            parts = [codes[: codes.duration / 2], codes[codes.duration / 2 :]]
        except FormatError:  # there is a single segment
            return
        assert Codes.join(parts) == codes, "the two halves joined are not the whole"
        for part in parts:
            check_sound(codec.decode(part), silence_of(part), part.info.channels)

    def test_latents_are_the_numbers_that_are_quantised(self, codec: Codec) -> None:
        sound = sweep(codec, 12)
        codes = codec.encode(sound)
        if not self.lets_latents_out(codec):
            check_refusal(CodecError, partial(codec.latents, sound), "latents")
            return
        encoder = LatentEncoder(codec, codes.info)
        blocks = [encoder.push(piece) for piece in np.array_split(sound.samples, 3, axis=1)]
        blocks.append(encoder.finish())
        found = Codes.from_blocks(codes.info, blocks, sound.length)
        self._same_codes(codec, found, codes, "codes of which the latents are kept")
        latents = encoder.take()
        assert latents.dtype == np.float32, f"latents are {latents.dtype}"
        count, length = codes.info.codebooks, codes.length
        found = codec.quantise(latents, codebooks=count, length=length)
        self._same_codes(codec, found, codes, "latents that are quantised")
        whole = codec.latents(sound)
        for one, expected in zip(latents, whole, strict=True):
            check_close(one, expected, self.tolerance(codec), "latents in pieces")

    def test_latents_of_codes_decode_as_the_codes_do(self, codec: Codec) -> None:
        codes = codec.encode(sweep(codec, 12))
        if not self.lets_latents_out(codec):
            check_refusal(CodecError, partial(LatentDecoder, codec, codes.info), "latents")
            return
        latents, expected = codec.latents_of(codes), codec.decode(codes).samples
        decoder = LatentDecoder(codec, codes.info)
        step = 5 * (latents.shape[2] // codes.frames)
        parts = [decoder.push(part) for part in (latents[:, :, :step], latents[:, :, step:])]
        found = np.concatenate([*parts, decoder.finish(codes.length)], axis=1)
        self._same_samples(codec, found, expected, "latents in pieces")
        whole = codec.decode_latents(latents, length=codes.length)
        self._same_samples(codec, whole.samples, expected, "latents of codes")

    def test_decoding_from_the_middle_sounds_as_from_the_beginning(self, codec: Codec) -> None:
        check_late_seek(codec)
        hop = codec.spec.hop_length
        frames = math.ceil(codec.preroll * codec.spec.frame_rate) + 5
        while codec.seek(frames * hop * 9 // 10)[0] == 0:  # until a seek can skip frames
            frames += 5
        codes = codec.encode(sweep(codec, frames, channels=1))
        whole = codec.decode(codes).samples
        for sample in (hop + 1, codes.length * 9 // 10):
            frame, first = codec.seek(sample)
            assert 0 <= frame <= codes.frames, f"seek({sample}) is frame {frame}, of {codes.frames}"
            assert 0 <= first <= sample, f"seek({sample}) begins later, at {first}"
            decoder = Decoder(codec, codes.info)
            parts = [decoder.push(tail(codes.block, frame)), decoder.finish(codes.length - first)]
            found = np.concatenate(parts, axis=1)[:, sample - first :]
            check_close(found, whole[:, sample:], SEEK_TOLERANCE, f"seek({sample})")

    def test_codes_of_others_are_refused(self, codec: Codec) -> None:
        codes = codec.encode(sweep(codec, 5), codebooks=codec.spec.codebooks)
        codec.check(codes.info)
        codec.check(replace(codes.info, fingerprint=None))
        for what, info in strangers_to(codec.spec, codes.info).items():
            check_refusal(CodecError, partial(Decoder, codec, info), f"codes of {what}")
        claims = replace(codes, length=codes.length + 2 * codes.info.source_rate)
        check_refusal(CodecError, partial(codec.decode, claims), "codes shorter than they claim")
        if codes.segments is not None:
            plain = replace(codes, segments=None)
            check_refusal(CodecError, partial(codec.decode, plain), "codes without their segments")

    def test_a_batch_gives_what_each_clip_gets_alone(self, codec: Codec) -> None:
        rate, hop = codec.spec.sample_rate, codec.spec.hop_length
        longest = sweep(codec, 9).samples
        clips = [
            Audio(longest, rate),
            Audio(longest[:1, : hop + 1], rate),
            Audio(longest[:, : 2 * hop], 16_000),
            Audio(longest[:1, :1], rate),
        ]
        batch = codec.encode_batch(clips)
        assert len(batch) == len(clips), f"{len(batch)} codes of {len(clips)} clips"
        for clip, codes, sound in zip(clips, batch, codec.decode_batch(batch), strict=True):
            alone = codec.encode(clip)
            self._same_codes(codec, codes, alone, "a clip in a batch and alone")
            expected = codec.decode(codes)
            assert sound.sample_rate == expected.sample_rate, "another rate in a batch than alone"
            self._same_samples(codec, sound.samples, expected.samples, "in a batch and alone")
        assert not codec.encode_batch([]) and not codec.decode_batch([]), "an empty batch"

    # Where it is used

    def test_threads_share_a_codec(self, codec: Codec) -> None:
        """Each thread gets the same result as alone, because state belongs to a stream."""
        sounds = [sweep(codec, 12, seed=seed) for seed in range(3)] * 2
        alone = [codec.encode(sound) for sound in sounds[:3]] * 2
        heard = [codec.decode(codes) for codes in alone[:3]] * 2
        with ThreadPoolExecutor(4) as threads:
            for found, codes in zip(threads.map(codec.encode, sounds), alone, strict=True):
                self._same_codes(codec, found, codes, "in a thread and alone")
            for sound, expected in zip(threads.map(codec.decode, alone), heard, strict=True):
                self._same_samples(codec, sound.samples, expected.samples, "in a thread and alone")

    def test_copies_code_alike(self, codec: Codec) -> None:
        """A codec that was copied, or pickled (if `acomp.load` made it), gives the same codes."""
        sound = sweep(codec, 5)
        codes = codec.encode(sound)
        copies = {"copied": copy.copy(codec)}
        if codec.loading is not None:
            copies["pickled"] = pickle.loads(pickle.dumps(codec))
        for what, other in copies.items():
            assert other.spec == codec.spec, f"{what}: {other.spec}, not {codec.spec}"
            self._same_codes(codec, other.encode(sound), codes, f"a codec that was {what}")

    def test_settings_of_torch_change_nothing(self, codec: Codec) -> None:
        """Neither the codes nor the settings change, because the codec sets its own arithmetic."""
        sound = sweep(codec, 5)
        codes = codec.encode(sound)
        expected = codec.decode(codes).samples
        for what, setting in torch_settings().items():
            with setting:
                before = random_states()
                found = codec.encode(sound)
                samples = codec.decode(codes).samples
                assert random_states() == before, f"under {what}, random numbers were drawn"
            self._same_codes(codec, found, codes, f"under {what}")
            self._same_samples(codec, samples, expected, f"under {what}")

    def test_what_is_no_sound_is_refused(self, codec: Codec) -> None:
        """It is refused before the codec gets it, and the stream goes on as if nothing came."""
        sound = sweep(codec, 12)
        whole = codec.encode(sound)
        encoder, decoder = Encoder(codec, whole.info), Decoder(codec, whole.info)
        blocks = [encoder.push(sound.samples[:, :100])]
        for what, samples in bad_samples(sound.channels).items():
            check_refusal(AudioError, partial(encoder.push, samples), f"samples of {what}")
        blocks += [encoder.push(sound.samples[:, 100:]), encoder.finish()]
        found = Codes.from_blocks(whole.info, blocks, encoder.length)
        self._same_codes(codec, found, whole, "after pushes that were refused")
        for what, block in bad_blocks(whole).items():
            check_refusal(FormatError, partial(decoder.push, block), f"a block of {what}")
        decoder.push(whole.block)
        decoder.finish(whole.length)
        check_refusal(CodecError, partial(encoder.push, sound.samples), "a push after the end")
        check_refusal(CodecError, partial(decoder.push, whole.block), "a push after the end")

    # Comparisons

    def _same_codes(self, codec: Codec, found: Codes, expected: Codes, what: str) -> None:
        assert found.info == expected.info, f"{what}: {found.info}, not {expected.info}"
        assert found.length == expected.length, (
            f"{what}: {found.length} samples, not {expected.length}"
        )
        assert found.data.shape == expected.data.shape, (
            f"{what}: {found.data.shape}, {expected.data.shape}"
        )
        least = self.agreement(codec)
        equal = found.data == expected.data
        if not equal.mean() >= least:
            frame = int((~equal).any(axis=(0, 1)).argmax())
            raise AssertionError(
                f"{what}: {equal.mean():.2%} of the codes agree, not {least:.0%}; the first "
                f"difference is in frame {frame} of {expected.frames}"
            )
        assert (found.segments is None) == (expected.segments is None), f"{what}: segments"
        if found.segments is not None and expected.segments is not None:
            np.testing.assert_array_equal(found.segments.frames, expected.segments.frames, what)
            slack = 0 if least == 1 else 1e-4
            np.testing.assert_allclose(found.segments.scales, expected.segments.scales, slack)

    def _same_samples(self, codec: Codec, found: Samples, expected: Samples, what: str) -> None:
        check_close(found, expected, self.tolerance(codec), what)
