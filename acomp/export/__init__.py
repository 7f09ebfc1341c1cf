"""Codecs as files that run without acomp and without torch.

Private but for the command `acomp export`. `nano` has the networks as they are exported, `onnx`
makes graphs of them, `folder` writes them with what describes them, `checking` runs them.
"""
