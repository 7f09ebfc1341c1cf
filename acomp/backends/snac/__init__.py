"""SNAC: 24, 32 and 44.1 kHz, its levels at several rates (https://arxiv.org/abs/2410.14411)."""
