"""One corpus a file; files whose names begin with an underscore are what they share.

A module here is found by its name (:mod:`espnet_a2m.data.prepare_corpus`) and offers

- ``SETS``: data directory -> what it is;
- ``WHERE``: one sentence: where the corpus is to be had, and its licence;
- ``PUBLISHED``: data directory -> ``{"utterances": ..., "hours": ...}``, and ``SOURCE``
  of these counts;
- ``OPTIONS``, optional: an option of its own -> help; each takes a value;
- ``prepare(corpus_dir, sets, allow_missing=False, **options)``: yields (data directory,
  utterances); ``options`` are those that were given;
- ``download(folder, sets)``, optional, where the licence lets it: returns the corpus'
  directory.
"""
