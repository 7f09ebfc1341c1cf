"""What several codec families share: streams, quantisers, and layers that run over streams."""
