"""Weights: the catalogue of the published ones, their download and cache, and files of weights."""
