"""Encode and decode audio block by block, as it would come from a microphone.

python examples/stream.py speech.wav out.wav
"""

import sys

import acomp

codec = acomp.load("nano")
with acomp.open_audio(sys.argv[1]) as reader:
    info = codec.info(reader, bandwidth=6)
    encoder, decoder = acomp.Encoder(codec, info), acomp.Decoder(codec, info)
    with acomp.AudioWriter(sys.argv[2], decoder.sample_rate, info.channels) as writer:
        for samples in reader.blocks(1024):
            block = encoder.push(samples)  # the frames that these samples complete: send them
            writer.write(decoder.push(block))
        writer.write(decoder.push(encoder.finish()))
        writer.write(decoder.finish(encoder.length))
