"""The published weights that acomp knows: where they are, how to tell them, who may use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from acomp.errors import WeightsError, did_you_mean

_ENCODEC = "https://dl.fbaipublicfiles.com/encodec/v0"
_LYRA = "https://github.com/google/lyra/raw/v1.3.2/lyra/model_coeffs"
_HUGGING_FACE = "https://huggingface.co"
_DAC = "https://github.com/descriptinc/descript-audio-codec/releases/download"


@dataclass(frozen=True)
class HubFile:
    """A file on Hugging Face's Hub.

    Attributes:
        repository: `OWNER/NAME` of the model.
        revision: the commit, 40 hexadecimal digits: what is fetched never changes.
        file: its name there.
    """

    repository: str
    revision: str
    file: str

    @property
    def url(self) -> str:
        """Its address where no mirror is named."""
        return f"{_HUGGING_FACE}/{self.repository}/resolve/{self.revision}/{self.file}"


@dataclass(frozen=True)
class Weights:
    """Published weights: one file, or several in one folder.

    Attributes:
        name: the codec that they belong to, for example `encodec-24khz`; with `-lm` behind it for
            its language model's, and with the part's name behind it for a file of several.
        file: name of the file, or of the folder, in acomp's cache, and in the official package's;
            may lie in a folder.
        licence: with `(code)` behind it where it is that of the code; for the weights see `page`.
        page: page that the weights are published on.
        url: address of the file; None for weights that ship with acomp or lie in its source, and
            for folders.
        source: path of the file in acomp's source, for weights that do not ship with acomp's
            package.
        size: in bytes, of all files; None where it is not known.
        sha256: SHA-256 of the file, 64 hexadecimal digits, or the first 8 or more of them; None
            where it is not known, and for folders.
        hub: where on Hugging Face the file is; None where it is elsewhere.
        twin: repository on Hugging Face, `OWNER/NAME`, that has the same weights in the layout of
            `transformers`; None where there is none.
        package: official package that keeps the file in a cache of its own.
        parts: names of the catalogue's entries of the folder's files; empty for one file.
        is_part: whether it is a file of a folder, which has an entry of its own.
    """

    name: str
    file: str
    licence: str
    page: str
    url: str | None = None
    source: str | None = None
    size: int | None = None
    sha256: str | None = None
    hub: HubFile | None = None
    twin: str | None = None
    package: Literal["encodec", "dac", "huggingface"] | None = None
    parts: tuple[str, ...] = ()
    is_part: bool = False

    @property
    def ships_with_acomp(self) -> bool:
        """Whether the file is in acomp's own package."""
        return self.url is None and self.source is None and not self.parts

    @property
    def is_language_model(self) -> bool:
        """Whether they are a language model's, for entropy coding, and not a codec's."""
        return self.name.endswith("-lm")


def _encodec(
    name: str, file: str, *, sha256: str, size: int | None = None, twin: str | None = None
) -> Weights:
    return Weights(
        name=name,
        file=file,
        licence="MIT (code)",
        page="https://github.com/facebookresearch/encodec",
        url=f"{_ENCODEC}/{file}",
        size=size,
        sha256=sha256,
        twin=twin,
        package="encodec",
    )


def _dac(
    name: str,
    file: str,
    release: str,
    *,
    sha256: str | None = None,
    size: int | None = None,
    twin: str | None = None,
) -> Weights:
    return Weights(
        name=name,
        file=file,
        licence="MIT",
        page="https://github.com/descriptinc/descript-audio-codec",
        url=f"{_DAC}/{release}",
        size=size,
        sha256=sha256,
        twin=twin,
        package="dac",
    )


def _hugging_face(
    name: str,
    file: str,
    repository: str,
    revision: str,
    *,
    licence: str,
    sha256: str,
    size: int | None = None,
) -> Weights:
    hub = HubFile(repository, revision, file)
    return Weights(
        name=name,
        file=f"{repository.replace('/', '--')}/{file}",
        licence=licence,
        page=f"{_HUGGING_FACE}/{repository}",
        url=hub.url,
        size=size,
        sha256=sha256,
        hub=hub,
        package="huggingface",
    )


def _folder(name: str, *parts: Weights) -> tuple[Weights, ...]:
    """The entry of a codec whose weights are several files of one folder, and those of the files.

    It has what they share.
    """
    first = parts[0]
    sizes = [part.size for part in parts if part.size is not None]
    whole = Weights(
        name=name,
        file=str(PurePosixPath(first.file).parent),
        licence=first.licence,
        page=first.page,
        size=sum(sizes) if len(sizes) == len(parts) else None,
        parts=tuple(part.name for part in parts),
    )
    return (*parts, whole)


def _lyra(name: str, file: str, *, sha256: str, size: int) -> Weights:
    return Weights(
        name=name,
        file=f"lyra-1.3.2/{file}",
        licence="Apache-2.0",
        page="https://github.com/google/lyra",
        url=f"{_LYRA}/{file}",
        size=size,
        sha256=sha256,
        is_part=True,
    )


_ALL = (
    Weights(
        name="nano-1",
        file="nano-1.safetensors",
        licence="MIT",
        page="in acomp's source",
        source="weights/nano-1.safetensors",
        size=10_824_672,
        sha256="3ff514eba57bf667ef372262cd6768834bda5bcb17f51031cc71949b3ed2df44",
    ),
    Weights(
        name="nano-1-lm",
        file="nano-1-lm.safetensors",
        licence="MIT",
        page="in acomp's source",
        source="weights/nano-1-lm.safetensors",
        size=5_915_376,
        sha256="c64c59c6a693fdfb86c61fd9c678edf7791808b1010588bc1e5a890ba3210a4b",
    ),
    Weights(
        name="nano-2",
        file="nano/nano_2.safetensors",
        licence="MIT",
        page="ships with acomp",
        size=9_280_624,
        sha256="6ba6c264225193a8f9cea988cd53909065bc78e44fa6b2362e1644ce8a411a0e",
    ),
    Weights(
        name="nano-2-lm",
        file="nano/nano_2_lm.safetensors",
        licence="MIT",
        page="ships with acomp",
        size=6_234_864,
        sha256="fc04fcc6b585d2eb65d5dbd80350cace761e41546069a36f09ae8b4bfd8953cf",
    ),
    # The digits in the file names of `encodec` are the beginning of the SHA-256.
    _encodec(
        "encodec-24khz",
        "encodec_24khz-d7cc33bc.th",
        sha256="d7cc33bcf1aad7f2dad9836f36431530744abeace3ca033005e3290ed4fa47bf",
        size=93_171_529,
        twin="facebook/encodec_24khz",
    ),
    _encodec(
        "encodec-48khz",
        "encodec_48khz-7e698e3e.th",
        sha256="7e698e3e",
        twin="facebook/encodec_48khz",
    ),
    _dac(
        "dac-44khz",
        "weights_44khz_8kbps_0.0.1.pth",
        "0.0.1/weights.pth",
        sha256="a88eed82a7024ccc1facdb1e605c4c2f99281c8118c22c9895ffa846d8fb61aa",
        size=306_717_287,
        twin="descript/dac_44khz",
    ),
    _dac(
        "dac-24khz",
        "weights_24khz_8kbps_0.0.4.pth",
        "0.0.4/weights_24khz.pth",
        sha256="44bad592fc393e03eb0be7a5120b7d487fe9612fa41269dc03fca3d4b87e20ad",
        twin="descript/dac_24khz",
    ),
    _dac(
        "dac-16khz",
        "weights_16khz_8kbps_0.0.5.pth",
        "0.0.5/weights_16khz.pth",
        sha256="95ab7176b67137d4d4c6c54b8d6ef3cea797faec228cb03ad084badcad570b4d",
        twin="descript/dac_16khz",
    ),
    _dac(
        "dac-44khz-16kbps",
        "weights_44khz_16kbps_1.0.0.pth",
        "1.0.0/weights_44khz_16kbps.pth",
        size=256_984_809,
    ),
    # Revisions and sums of Hugging Face's files as projects that pin them have them: several, but
    # for SNAC 32 kHz, whose sum is from one.
    _hugging_face(
        "snac-24khz",
        "pytorch_model.bin",
        "hubertsiuzdak/snac_24khz",
        "d73ad176a12188fcf4f360ba3bf2c2fbbe8f58ec",
        licence="MIT",
        sha256="4b8164cc6606bfa627f1a784734c1e539891518f1191ed9194fe1e3b9b4bff40",
        size=79_488_254,
    ),
    _hugging_face(
        "snac-32khz",
        "pytorch_model.bin",
        "hubertsiuzdak/snac_32khz",
        "c84c6ac842dc7a44a6fb0f3b576ce94b48a7780f",
        licence="MIT",
        sha256="bfee2f057c1e287443786bedab377b5176b430e911417683977b7af71ea3ba65",
    ),
    _hugging_face(
        "snac-44khz",
        "pytorch_model.bin",
        "hubertsiuzdak/snac_44khz",
        "873ebef9718b89660340c6f55a2b515e98cfa1d9",
        licence="MIT",
        sha256="b0a676cbdc8d1cc53186f6d777bc956fb7932ceacdc657a4c3741646e9e7ead0",
    ),
    *_folder(
        "soundstream",
        _lyra(
            "soundstream-encoder",
            "soundstream_encoder.tflite",
            sha256="237da0b16226fb0a68d49551c81bebf614e42142af72764448359f68581e88f1",
            size=1_779_200,
        ),
        _lyra(
            "soundstream-quantizer",
            "quantizer.tflite",
            sha256="841ee05989687d32d1f616a8ad1419fc7eda37599d3c05c7cf5a0d60ccf8ac5c",
            size=329_012,
        ),
        _lyra(
            "soundstream-decoder",
            "lyragan.tflite",
            sha256="50e7839cda4f30599a3a34cfaddcd9c98449b049eee884e1a74295780448ad06",
            size=1_475_160,
        ),
    ),
    _hugging_face(
        "mimi",
        "model.safetensors",
        "kyutai/mimi",
        "89091b3e466eb6a9d11e537bf26b144f194978f7",
        licence="CC-BY-4.0",
        sha256="bac7e85083dcded655d24eaadde7e6eea34c0da1b35fa2d284e641bd2b942a5e",
        size=384_649_828,
    ),
    _encodec("encodec-24khz-lm", "encodec_lm_24khz-1608e3c0.th", sha256="1608e3c0"),
    _encodec("encodec-48khz-lm", "encodec_lm_48khz-7add9fc3.th", sha256="7add9fc3"),
)

CATALOGUE = {weights.name: weights for weights in _ALL}
"""Everything that is published, by name: codecs, language models, and files of folders."""


def ships_with_acomp(codec: str) -> bool:
    """Whether the weights of a codec are in acomp's own package."""
    return codec in CATALOGUE and CATALOGUE[codec].ships_with_acomp


def lookup(name: str) -> Weights:
    """The catalogue's entry of `name`.

    Raises:
        WeightsError: no weights have that name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        known = did_you_mean(name, CATALOGUE)
        raise WeightsError(f"no weights are called {name!r}{known}") from None
