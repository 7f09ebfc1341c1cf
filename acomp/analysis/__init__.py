"""Codebooks and codes, looked at: how entries are used, how they lie, and pictures of both."""
