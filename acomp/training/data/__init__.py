"""Training audio: random segments of files of any rate, number of channels and length.

`scan` reads the headers of all files and parts them into audio to train on and audio that is held
out; `Segments` draws from the first, `held_out` takes fixed segments of the second.
"""
