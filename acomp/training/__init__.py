"""Training codecs on audio."""
