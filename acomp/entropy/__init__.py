"""Entropy coding: fewer bits for codes that a language model expects.

    coder = loading.load_coder(info)        # with the language model of info.codec
    data = coder.encode(block, anew=True)

Decoding returns the codes that were encoded, on any machine: see `exact`.
"""
