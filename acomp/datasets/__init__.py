"""Datasets of codes: many recordings encoded once, in Parquet shards with a description.

A dataset is a folder: `dataset.json`, which says what the codes are of and how they were made;
`part-00000.parquet` and so on, one row for each recording; and `failures.jsonl`, where some could
not be read. Nothing in it depends on the time, the machine or the number of processes.
"""
