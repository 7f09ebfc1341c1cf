"""Self-contained HTML pages: no network, nothing beside the one file."""
