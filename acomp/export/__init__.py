"""Codecs as files that run without acomp and without torch.

Private but for the command `acomp export`. The codec families have a module each with the networks
as they are exported (`streams` and `edges` have what these share); `onnx` makes graphs of them,
`folder` writes them with what describes them (`guide`), `running` runs a folder, `checking` holds
it against acomp's own.
"""
