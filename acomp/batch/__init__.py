"""Many files at once: finding them, where their outputs go, and working on them side by side."""
