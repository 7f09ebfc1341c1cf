"""SoundStream as Lyra published it: 16 kHz (https://arxiv.org/abs/2107.03312)."""
