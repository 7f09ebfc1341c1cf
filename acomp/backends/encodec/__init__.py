"""EnCodec: 24 kHz mono, 48 kHz stereo and other shapes (https://arxiv.org/abs/2210.13438)."""
