"""Conformance tests for codecs, those of acomp and those of other packages.

    import acomp
    import pytest
    from acomp.testing import CodecConformance

    class TestMine(CodecConformance):
        @pytest.fixture(scope="class")
        @classmethod
        def codec(cls) -> acomp.Codec:
            return acomp.load("mine")

pytest finds the tests that the class inherits and passes the codec to each. Without pytest they are
methods that take a codec and raise AssertionError, or an error of the codec, if it fails.
docs/backends.md says how to write a codec.
"""

from acomp.testing.conformance import CodecConformance

__all__ = ["CodecConformance"]
