"""The listening test (MUSHRA, ITU-R BS.1534-3): its page, its anchors, its ratings and scores."""
