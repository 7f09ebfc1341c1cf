"""Work on many files: finding inputs, naming outputs, and running several processes."""
