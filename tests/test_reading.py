"""Reading audio of every form: the same however it is asked for, and whole, or told."""

from __future__ import annotations

import io
import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
from sounds import ALL, Made, encoded, sound, tone, video, written

from acomp.audio import open_audio, read_audio
from acomp.audio.samples import Samples
from acomp.errors import AcompWarning, AudioError

STRAY = {"line end": b"\n", "zeros": bytes(300), "ID3v1": b"TAG" + bytes(125)}
NEVER_WHOLE = ("amr",)
"""Forms in which a frame can follow at any place: three zeros are one of them."""
NO_INDEX = ("alac", "m4a", "opus in mp4", "wv")
"""Files of which nothing can be read without their end: their index, or that of their one block."""


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives some bytes at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        part = self._data.read(min(997, len(view)))
        view[: len(part)] = part
        return len(part)


def pipe(data: bytes) -> BinaryIO:
    return cast(BinaryIO, Pipe(data))


def in_blocks(source: Path | BinaryIO, frames: int) -> Samples:
    with open_audio(source) as reader:
        blocks = list(reader.blocks(frames))
        assert all(1 <= block.shape[1] <= frames for block in blocks)
        return np.concatenate(blocks, axis=1)


def recovered(data: bytes) -> tuple[Samples, list[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AcompWarning)
        with open_audio(io.BytesIO(data), recover=True) as reader:
            nothing = np.zeros((reader.channels, 0), np.float32)
            return np.concatenate([nothing, *reader.blocks(4096)], axis=1), reader.damage


# However it is asked for


@pytest.mark.parametrize("name", ALL)
def test_samples_do_not_depend_on_how_they_are_read(tmp_path: Path, name: str) -> None:
    data = sound(name, 0.3)
    path = tmp_path / "a"
    path.write_bytes(data)
    whole = read_audio(path).samples
    assert np.abs(whole).max() > 0.2
    for frames in (1, 7, 1000, 1 << 20):
        np.testing.assert_array_equal(in_blocks(path, frames), whole)
    np.testing.assert_array_equal(in_blocks(pipe(data), 333), whole)
    np.testing.assert_array_equal(in_blocks(io.BytesIO(data), 333), whole)


@pytest.mark.parametrize("name", ALL)
def test_the_name_of_a_file_says_nothing(tmp_path: Path, name: str) -> None:
    data = sound(name, 0.1)
    due = read_audio(io.BytesIO(data)).samples
    for suffix in (".wav", ".raw", ".mp3", ".m3u8"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        np.testing.assert_array_equal(read_audio(path).samples, due)


# Cut


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("keep", [0.55, 0.9])
def test_what_is_cut_is_refused_and_recovered(name: str, keep: float) -> None:
    whole = sound(name, 4)
    due = read_audio(io.BytesIO(whole)).samples
    data = whole[: int(len(whole) * keep)]
    if name in ("ac3", "eac3", "mp2"):
        data = data[: len(data) // 384 * 384 + 200]  # within a frame
    with pytest.raises(AudioError, match=r"truncated|cut short") as caught:
        read_audio(io.BytesIO(data))
    assert "\n" not in str(caught.value)
    if name in NO_INDEX:
        return
    found, damage = recovered(data)
    assert damage
    if name == "opus":
        return  # cut, it is read at 48 kHz
    assert 0.3 * keep * due.shape[1] < found.shape[1] < due.shape[1]
    most = found.shape[1] * 8 // 10
    np.testing.assert_allclose(found[:, :most], due[:, :most], atol=1e-3)


def test_recovering_says_what_is_lost_and_where() -> None:
    data = sound("wv", 9)
    with (
        open_audio(io.BytesIO(data[: len(data) * 2 // 3]), recover=True) as reader,
        pytest.warns(AcompWarning, match=r"the stream is truncated: it ends after \d\.\d+ s of 9"),
    ):
        list(reader.blocks(1000))
    assert len(reader.damage) == 1


def test_a_frame_in_the_middle_that_is_no_sound(tmp_path: Path) -> None:
    data = bytearray(sound("flac in mkv", 3))
    at = len(data) // 2
    data[at : at + 40] = bytes(40)
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"a part of it, 1\.\d+ s in, is no sound.*--recover"):
        read_audio(path)
    found, damage = recovered(bytes(data))
    assert len(damage) == 1
    assert 40_000 < found.shape[1] < 48_000


WITH_CHECKSUMS = ("flac", "flac in mkv", "flac in ogg", "opus", "tta", "vorbis", "wv")


@pytest.mark.parametrize("name", WITH_CHECKSUMS)
def test_a_wrong_bit_of_what_has_checksums_is_told(name: str) -> None:
    data = bytearray(sound(name, 2))
    data[len(data) // 2] ^= 16
    with pytest.raises(AudioError, match=r"damaged|truncated"):
        read_audio(io.BytesIO(data))
    if name not in NO_INDEX:
        assert recovered(bytes(data))[1]


def test_samples_that_are_no_numbers_become_silence() -> None:
    samples = tone(16000)
    samples[0, 8000:8010] = np.nan
    found, damage = recovered(written(samples, 16000, "WAV", "FLOAT"))
    assert len(damage) == 1
    assert "10 samples, 0.3 s in or later, are not finite numbers" in damage[0]
    np.testing.assert_array_equal(found, np.nan_to_num(samples))


# Odd, and whole


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("name", [name for name in ALL if name not in NEVER_WHOLE])
def test_stray_bytes_after_the_sound_lose_nothing(name: str, stray: str) -> None:
    data = sound(name, 0.2)
    due = read_audio(io.BytesIO(data)).samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AcompWarning)
        found = read_audio(io.BytesIO(data + STRAY[stray])).samples
    if "mp3" in name:  # the padding of one so short is no longer known as such
        found = found[:, : due.shape[1]]
    assert found.shape == due.shape
    np.testing.assert_array_equal(found, due)


def test_a_byte_after_amr_and_frames_in_which_nothing_was_sent() -> None:
    data = sound("amr", 0.4)
    due = read_audio(io.BytesIO(data)).samples
    with pytest.warns(AcompWarning, match="a byte that is no sound"):
        found = read_audio(io.BytesIO(data + b"\n")).samples
    np.testing.assert_array_equal(found, due)
    paused = read_audio(io.BytesIO(data + b"\x7c" * 10)).samples
    assert paused.shape[1] == due.shape[1] + 10 * 160
    assert not paused[:, due.shape[1] :].any()


@pytest.mark.parametrize("name", ["mp3", "low mp3", "mp2"])
def test_stray_bytes_between_frames_lose_nothing(name: str) -> None:
    data = sound(name, 0.5)
    alone = read_audio(io.BytesIO(data)).samples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AcompWarning)
        found = read_audio(io.BytesIO(data + b"\n" + data)).samples
    assert 1.9 * alone.shape[1] < found.shape[1] < 2.2 * alone.shape[1] + 4000


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("name", ["aac", "ac3", "eac3"])
def test_stray_bytes_between_bare_frames_lose_nothing(name: str, stray: str) -> None:
    data = sound(name, 0.5)
    due = read_audio(io.BytesIO(data)).samples
    size = 384  # of each frame of AC-3 here
    if name == "aac":
        size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
    with pytest.warns(AcompWarning, match=r"bytes that are no sound, 0\.\d+ s in"):
        found = read_audio(io.BytesIO(data[:size] + STRAY[stray] + data[size:])).samples
    np.testing.assert_array_equal(found, due)


@pytest.mark.parametrize("name", ["mp3", "flac", "vorbis", "opus", "flac in ogg"])
def test_joined_files_are_read_whole(name: str) -> None:
    data = sound(name, 0.5)
    alone = read_audio(io.BytesIO(data)).samples
    joined = read_audio(io.BytesIO(3 * data)).samples
    slack = 4000 if name == "mp3" else 0  # what the encoder put around the second and third
    assert 0 <= joined.shape[1] - 3 * alone.shape[1] <= slack
    np.testing.assert_array_equal(in_blocks(io.BytesIO(3 * data), 777), joined)
    if not slack:
        np.testing.assert_array_equal(joined, np.tile(alone, 3))


def test_joined_files_that_differ() -> None:
    first = written(tone(8000), 16000, "OGG", "VORBIS")
    second = written(tone(8000), 22050, "OGG", "VORBIS")
    with pytest.raises(AudioError, match=r"joined of parts that differ: 0\.50 s in"):
        read_audio(io.BytesIO(first + second))
    found, damage = recovered(first + second)
    assert found.shape[1] == 8000
    assert len(damage) == 1
    with pytest.raises(AudioError, match="two WAV files joined"):
        read_audio(io.BytesIO(2 * sound("wav")))


def test_a_flac_that_states_too_few_samples_is_read_whole() -> None:
    data = bytearray(sound("flac"))
    layout = int.from_bytes(data[18:26])
    for stated in (0, 100):
        data[18:26] = (layout >> 36 << 36 | stated).to_bytes(8)
        assert read_audio(io.BytesIO(data)).length == 8000
    data[18:26] = (layout >> 36 << 36 | 9000).to_bytes(8)
    with pytest.raises(AudioError, match=r"truncated: it ends after 0\.500 s of 0\.562"):
        read_audio(io.BytesIO(data))


def test_an_mp3_with_the_header_of_fraunhofer_is_read_whole() -> None:
    data = bytearray(sound("mp3", 3))
    at = data.find(b"Xing") if b"Xing" in data else data.find(b"Info")
    frames = int.from_bytes(data[at + 8 : at + 12])
    tag = struct.pack(">4sHHHII", b"VBRI", 1, 0, 75, len(data), frames)
    data[at : at + len(tag)] = tag
    whole = read_audio(io.BytesIO(data)).length
    assert 48000 <= whole < 51000
    with pytest.raises(AudioError, match="truncated"):
        read_audio(io.BytesIO(data[: len(data) * 7 // 10]))


# Ogg


def page_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def with_pages(data: bytes, *, shift: int = 0, is_ended: bool = True) -> bytes:
    """An Ogg file whose times are moved by so many samples, or whose end mark is taken away."""
    out, position = bytearray(), 0
    while position < len(data):
        count = data[position + 26]
        length = 27 + count + sum(data[position + 27 : position + 27 + count])
        page = bytearray(data[position : position + length])
        granule = int.from_bytes(page[6:14], "little")
        page[6:14] = (granule + (shift if granule else 0)).to_bytes(8, "little")
        page[5] &= 0xFF if is_ended else 0xFB
        page[22:26] = bytes(4)
        page[22:26] = page_crc(bytes(page)).to_bytes(4, "little")
        out += page
        position += length
    return bytes(out)


@pytest.mark.parametrize("name", ["opus", "vorbis"])
def test_an_ogg_without_an_end_mark_is_read_whole(name: str) -> None:
    data = with_pages(sound(name), is_ended=False)
    with pytest.warns(AcompWarning, match="has no end mark"):
        audio = read_audio(io.BytesIO(data))
    assert 0.5 <= audio.duration < 0.55


def test_opus_whose_times_do_not_begin_at_zero() -> None:
    data = encoded(tone(144000, 48000), Made("ogg", "libopus", 48000))
    due = read_audio(io.BytesIO(data)).samples
    found = read_audio(io.BytesIO(with_pages(data, shift=48000))).samples
    np.testing.assert_allclose(found, due, atol=1e-4)


# WAV


def wav(data: bytes, *, channels: int = 1, bits: int = 16, align: int = 2, kind: int = 1) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, 16000, 32000, align, bits)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


@pytest.mark.parametrize("align", [0, 1, 3, 4, 8])
def test_the_bits_of_a_wav_are_believed(align: int) -> None:
    values = np.arange(1000, dtype="<i2")
    for channels in (1, 2):
        data = wav(values.tobytes(), channels=channels, align=align)
        for audio in (read_audio(io.BytesIO(data)), read_audio(pipe(data))):
            due = values.reshape(-1, channels).T
            np.testing.assert_array_equal(audio.samples * 32768, due)


@pytest.mark.parametrize(
    "size", [0, 0x7FFF0000, 0x7FFFFFFF, 0x7FFFFFDA, 0x80000000, 0xFFFFFF9B, 0xFFFFFFDB, 0xFFFFFFFF]
)
def test_sizes_that_are_none(size: int) -> None:
    data = bytearray(wav(np.arange(1000, dtype="<i2").tobytes()))
    data[40:44] = size.to_bytes(4, "little")
    data[4:8] = min(size + 36, 0xFFFFFFFF).to_bytes(4, "little")
    assert read_audio(io.BytesIO(data)).length == 1000
    assert read_audio(pipe(bytes(data))).length == 1000


def test_a_size_that_has_wrapped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    data = bytearray(wav(bytes(2000)))
    path.write_bytes(data)
    os.truncate(path, len(data) + (1 << 32))  # sparse
    with open_audio(path) as reader:
        assert reader.length == 1000 + (1 << 31)


def test_bytes_after_a_wav_that_are_no_chunk_are_told() -> None:
    with pytest.warns(AcompWarning, match="has bytes after its samples"):
        assert read_audio(io.BytesIO(sound("wav") + b"\x01\x02\x03\x04abcd")).length == 8000


def test_sound_at_the_scale_of_whole_numbers_is_told() -> None:
    data = written(tone(16000) * 32768, 16000, "WAV", "FLOAT")
    with pytest.warns(AcompWarning, match=r"reaches \S+ times full scale") as told:
        read_audio(io.BytesIO(data))
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_audio(io.BytesIO(written(tone(16000) * 8, 16000, "WAV", "FLOAT")))


# What is no sound


def test_no_recovery_is_promised_without_an_index(tmp_path: Path) -> None:
    path = tmp_path / "cut.m4a"
    path.write_bytes(sound("m4a")[:3000])
    for recover in (False, True):
        with pytest.raises(AudioError, match="index, without which nothing") as caught:
            read_audio(path, recover=recover)
        assert "--recover" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"ID3", "only tags", id="three bytes"),
        pytest.param(b"ID3\x04\0\0\0\0\x07\x76" + bytes(1014), "only tags", id="a tag"),
        pytest.param(video(), "no sound, only video", id="video"),
        pytest.param(b"NAC\x01" + bytes(50), "acomp decode", id="codes"),
        pytest.param(b"some words\n", "it is text", id="text"),
        pytest.param(bytes(1000), "it is damaged, or not of a form", id="zeros"),
        pytest.param(sound("m4a")[:3000], "truncated", id="no index"),
    ],
)
def test_why_it_cannot_be_read(data: bytes, words: str, capfd: pytest.CaptureFixture[str]) -> None:
    for source in (io.BytesIO(data), pipe(data)):
        with pytest.raises(AudioError, match=words) as caught:
            read_audio(source)
        assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["aiff", "mp3", "opus", "w64", "caf", "m4a", "mka", "low mp3"])
def test_damage_prints_nothing(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = sound(name, 0.2)
    random = np.random.default_rng(0)
    for _ in range(12):
        data = bytearray(whole)
        for at in random.integers(0, min(len(data), 400), 4):
            data[at] = random.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AcompWarning)
            try:
                read_audio(io.BytesIO(data))
            except AudioError as failure:
                assert "\n" not in str(failure)
    assert capfd.readouterr() == ("", "")


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile {}\n",
    "cue": 'FILE "{}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
    ' mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="audio/mp4">'
    '<Representation id="0" bandwidth="1"><BaseURL>{}</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "imf": '<?xml version="1.0"?><CompositionPlaylist><Id>urn:uuid:0</Id>{}</CompositionPlaylist>',
    "lavfi": "amovie={}\n",
    "m3u": "#EXTM3U\n{}\n",
    "pls": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
    "a=control:{}\n",
    "smil": '<smil><body><audio src="{}"/></body></smil>\n',
    "vobsub": "# VobSub index file, v7\nid: en, index: 0\n{}\n",
}


@pytest.mark.parametrize("suffix", [".wav", ".wv", ".mp3", ".m4a"])
@pytest.mark.parametrize("name", PLAYLISTS)
def test_no_file_opens_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret.wav").write_bytes(sound("wav"))
    before = Path("secret.wav").stat().st_atime_ns
    for named in ("secret.wav", str(tmp_path / "secret.wav"), f"file:{tmp_path}/secret.wav"):
        path = tmp_path / f"list{suffix}"
        path.write_text(PLAYLISTS[name].format(named))
        with pytest.raises(AudioError, match="it is text"):
            read_audio(path)
    assert Path("secret.wav").stat().st_atime_ns == before
