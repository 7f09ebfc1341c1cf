"""Measuring codecs: real files encoded, decoded and compared with what they were made from."""
