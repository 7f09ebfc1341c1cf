"""Mimi: 24 kHz, 12.5 frames/s, its first codebook semantic (https://arxiv.org/abs/2410.00037)."""
