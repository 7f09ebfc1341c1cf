"""nano: 16 kHz, built in, with its weights (docs/nano.md)."""
