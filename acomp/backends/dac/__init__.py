"""DAC: 16, 24 and 44.1 kHz and other shapes (https://arxiv.org/abs/2306.06546)."""
