"""What every codec must keep, as tests: for those of acomp and for those of other packages.

    import acomp
    import pytest
    from acomp.testing import CodecConformance

    class TestMine(CodecConformance):
        @pytest.fixture(scope="class")
        @classmethod
        def codec(cls) -> acomp.Codec:
            return acomp.load("mine")

pytest finds the tests that the class inherits and gives each the codec. Without pytest they are
methods that take a codec, and raise AssertionError, or what the codec itself raises, where it
fails. docs/backends.md says how to write a codec.
"""

from acomp.testing.conformance import CodecConformance

__all__ = ["CodecConformance"]
