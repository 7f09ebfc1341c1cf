"""From file to file: audio to codes and codes to audio, in blocks.

    source -> AudioReader -> Encoder -> CodesWriter -> target
    source -> CodesReader -> Decoder -> AudioWriter -> target
    source -> AudioReader -> LatentEncoder -> latents -> quantiser -> CodesWriter -> target

Memory does not grow with the length of the audio, and a target is whole or not there.
"""

from acomp.pipeline.decoding import decode_file
from acomp.pipeline.encoding import encode_file
from acomp.pipeline.settings import Progress, Recording, Result, Sound, Span

__all__ = ["Progress", "Recording", "Result", "Sound", "Span", "decode_file", "encode_file"]
