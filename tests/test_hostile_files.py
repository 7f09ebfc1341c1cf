"""Small files that ask for much: each is refused in one line, at once and in little memory."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from checkpoints import asking_for_memory
from codes_samples import Pipe, encodec_24khz, encodec_48khz, to_bytes
from commands import Cli, assert_refused
from fuzzing import Target, fault_of, small_language_model, some_codes, table_rows
from safetensors.torch import save_file

from acomp.audio import read_audio
from acomp.backends.weights.checkpoint import load_arrays, load_checkpoint
from acomp.entropy import loading
from acomp.errors import AcompError, FormatError, WeightsError
from acomp.evaluation.rows import read_rows
from acomp.formats import open_codes, read_codes, write_codes
from acomp.training.config_files import read_yaml


def doubled(times: int) -> object:
    value: object = 1
    for _ in range(times):
        value = (value, value)
    return value


def deep(levels: int) -> object:
    value: object = ()
    for _ in range(levels):
        value = (value,)
    return value


def dac(**metadata: Any) -> bytes:
    content = np.load(io.BytesIO(DAC), allow_pickle=True)[()]
    content["metadata"] |= metadata
    file = io.BytesIO()
    np.save(file, content)
    return file.getvalue()


DAC = to_bytes(some_codes("dac-16khz", 2, 16, 9, loudness=(-20.0,)), "dac")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("input_db", value) for value in (doubled(40), deep(300), [[1.0], [2.0, 3.0]], "loud")),
        *(("dac_version", value) for value in (np.zeros(2), doubled(40), 1)),
        *(("original_length", value) for value in (1 << 900, 1.5, np.zeros(3, np.int64))),
        *(("chunk_length", value) for value in (doubled(40), 1 << 70)),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_dac_that_holds_what_is_not_plain(key: str, value: object) -> None:
    with pytest.raises(FormatError) as caught:
        read_codes(io.BytesIO(dac(**{key: value})))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [doubled(40), deep(300), 1 << 900, b"x"], ids=type)
def test_a_checkpoint_whose_metadata_is_not_plain(tmp_path: Path, value: object) -> None:
    path = tmp_path / "dac.pth"
    state = {"a": torch.zeros(2)}
    torch.save({"state_dict": state, "metadata": {"kwargs": {"n_codebooks": value}}}, path)
    with pytest.raises(WeightsError, match=r"no weights file|refused"):
        load_checkpoint(path)


@pytest.mark.parametrize("made", ["bytearray", "set"])
def test_a_checkpoint_that_asks_torch_for_memory(tmp_path: Path, made: str) -> None:
    """Torch's own reader would make 64 GiB of a few hundred bytes."""
    path = tmp_path / "x.pth"
    path.write_bytes(asking_for_memory(made))
    with pytest.raises(WeightsError, match=f"it asks for builtins.{made}"):
        load_checkpoint(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_no_numbers(tmp_path: Path, suffix: str, number: float) -> None:
    path = tmp_path / f"x{suffix}"
    state = {"good": torch.ones(3), "bad one": torch.tensor([1.0, number])}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    with pytest.raises(WeightsError, match="'bad one' holds weights that are no numbers"):
        load_checkpoint(path)
    if suffix == ".safetensors":
        with pytest.raises(WeightsError, match="'bad one' holds weights that are no numbers"):
            load_arrays(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "/nothing"])
def test_weights_that_never_end(cli: Cli, speech: Path, path: str) -> None:
    with pytest.raises(WeightsError, match="cannot read the weights"):
        load_checkpoint(Path(path))
    with pytest.raises(WeightsError, match="cannot read the weights"):
        load_arrays(Path(path))
    with pytest.raises(WeightsError, match="cannot read the weights"):
        loading.load_language_model("x", 1, Path(path))
    if path == "/dev/zero":
        assert_refused(cli("eval", speech, "-c", f"nano@6:{path}", "-o", "out"), "it is not a file")


def test_an_aiff_of_more_channels_than_it_has_bytes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.aiff", np.zeros(2000, np.float32), 16_000)
    content = (tmp_path / "a.aiff").read_bytes()
    assert content[12:16] == b"COMM"
    with pytest.raises(AcompError, match="damaged or truncated"):
        read_audio(io.BytesIO(content[:20] + b"\x7f\x01" + content[22:]))


def test_an_mp3_that_ends_within_what_it_tells_of_itself() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000, np.float32), 16_000, format="MP3")
    content = file.getvalue()
    mark = max(content.find(b"Xing"), content.find(b"Info"))
    for end in range(mark + 4, mark + 12):
        with pytest.raises(AcompError):
            read_audio(io.BytesIO(content[:end]))


def test_weights_of_a_type_that_numpy_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.ones(4).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(WeightsError):
        load_arrays(path)


def test_tensors_that_share_their_memory_a_thousand_times(tmp_path: Path) -> None:
    tensor = torch.zeros(5000)
    torch.save({f"{number}": tensor for number in range(1000)}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="its tensors claim 20000000 bytes"):
        load_checkpoint(tmp_path / "x.pth")


def test_language_models_in_memory_are_bounded(tmp_path: Path) -> None:
    """And are told apart by nothing that a file of codes says."""
    loading._load.cache_clear()
    path = small_language_model(tmp_path)
    for rate in range(1, 300):
        loading.load_language_model("x", rate / 7, path)
    assert loading._load.cache_info().misses == 1
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        loading.load_language_model("x", 75, small_language_model(folder))
    assert loading._load.cache_info().currsize <= loading.MAX_LOADED


def test_arrays_are_bounded_together() -> None:
    """A file of some kilobytes that unpacks to three times what an .npz may hold."""
    codes = encodec_48khz(1, 1)
    with zipfile.ZipFile(io.BytesIO(to_bytes(codes, "npz"))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, kind in (("segment_frames", "<i8"), ("scales", "<f4")):
        file = io.BytesIO()
        np.lib.format.write_array(file, np.ones(1 << 20, kind))
        members[f"{name}.npy"] = file.getvalue()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    target.seek(0)
    with pytest.raises(FormatError, match="segment_frames is larger than"):
        read_codes(target)


def one_block(first: int, frames: int = 10) -> bytes:
    """A `.nac` whose only block claims to begin with frame `first`."""
    data = to_bytes(encodec_24khz(2, frames))
    begin = 13 + struct.unpack("!I", data[4:8])[0]
    block = bytearray(data[begin : len(data) - 24])
    block[1:5] = struct.pack("!I", first)
    block[-4:] = struct.pack("!I", zlib.crc32(block[:-4]))
    return data[:begin] + b"garbage!" + bytes(block) + data[-24:]


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_recovery_invents_no_hours(stream: type[io.BytesIO]) -> None:
    silence = 60 * 75 + 3  # a minute, and what 8 bytes could have held
    with open_codes(stream(one_block(5_000_000)), recover=True) as reader:
        blocks = list(reader.blocks())
    assert sum(block.frames for _, block in blocks) == silence + 10
    assert blocks[-1][0] == silence
    (said,) = [line for line in reader.damage if "left out" in line]
    assert f"frames 0 to 4999999 are lost, of which {5_000_000 - silence} (66607 s)" in said


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_recovery_keeps_what_follows_in_its_place(stream: type[io.BytesIO]) -> None:
    """As long as what is missing is not longer than a minute, or than what is there."""
    with open_codes(stream(one_block(3000)), recover=True) as reader:
        assert [first for first, _ in reader.blocks()][-1] == 3000
    assert not any("left out" in line for line in reader.damage)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("extra", [b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"])
def test_an_index_of_blocks_that_are_not_there(stream: type[io.BytesIO], extra: bytes) -> None:
    data = to_bytes(encodec_24khz(2, 10))
    body = extra + data[-24:-12] + struct.pack("!I", 2)
    wrong = data[:-24] + body + struct.pack("!I", zlib.crc32(body)) + b"NACE"
    with pytest.raises(FormatError):
        read_codes(stream(wrong))


def test_a_name_of_a_language_model_is_no_text(tmp_path: Path) -> None:
    coded = io.BytesIO()
    write_codes(
        coded,
        some_codes("x", 2, 16, 20),
        form="nac",
        entropy="lm",
        language_model=small_language_model(tmp_path),
    )
    data = coded.getvalue()
    size = struct.unpack("!I", data[4:8])[0]
    text = data[9 : 9 + size]
    at = text.index(b'"language_model":"') + 18
    head = data[:9] + text[:at] + b"\\u001b[31mredred"[:16] + text[at + 16 :]
    with pytest.raises(FormatError, match=r"language_model is .* not 16 hexadecimal digits"):
        read_codes(io.BytesIO(head + struct.pack("!I", zlib.crc32(head)) + data[13 + size :]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(
            (b",0.6,24000", bytes(f",{value},24000", "ascii"))
            for value in ("nan", "inf", "0", "-1")
        ),
        *((b",101,201", bytes(f",{value},201", "ascii")) for value in ("0", "-inf", "1e-308")),
        *((b"pesq: music", value) for value in (b"1e308", b"key: none", b"9" * 400)),
        *((b"talk.wav", value) for value in (b" ", b"\0", b"")),
        *((b"0.9 0.9", value) for value in (b"9" * 400, b"nan", b"-1 2")),
    ],
)
def test_a_table_of_impossible_values(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(table_rows())
    assert len(read_rows(path)) == 2
    path.write_bytes(table_rows().replace(old, new))
    with pytest.raises(AcompError, match=r"results.csv, line [23]: ") as caught:
        read_rows(path)
    assert len(str(caught.value)) < 300


def test_settings_of_training_that_double(tmp_path: Path) -> None:
    path = tmp_path / "laugh.yaml"
    lines = [f"  - &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    path.write_text("\n".join(["seed:", "  - &a0 [1, 1]", *lines]))
    with pytest.raises(AcompError, match="more than 10000 values"):
        read_yaml(path)


def test_what_is_refused_takes_little() -> None:
    """Within the limits that the fuzzing holds every reader to."""
    target = Target(lambda data: read_codes(io.BytesIO(data), recover=True), [])
    for data in (one_block(1 << 24), dac(input_db=doubled(40)), dac(dac_version=deep(300))):
        assert fault_of(target, data) is None
