"""One corpus a file; what they share is in `_shared.py`.

A module here is found by its name (:mod:`espnet_a2m.data.prepare_corpus`) and offers

- ``SETS``: data directory -> what it is;
- ``WHERE``: one sentence: where the corpus can be obtained, and its licence;
- ``PUBLISHED``, optional: data directory -> ``{"utterances": ..., "hours": ...}``, and
  ``SOURCE`` of these counts;
- ``OPTIONS``, optional: an option of the corpus -> help; each takes a value;
- ``prepare(corpus_dir, sets, allow_missing=False, **options)``: yields (data directory,
  utterances); raises ``DataError`` for what is missing, unless ``allow_missing`` leaves
  it out, and for what is damaged; ``options`` are those that were given;
- ``download(folder, sets)``, optional, where the licence permits it: returns the
  corpus' directory.

``egs2/TEMPLATE`` is the recipe to copy for a new one.
"""
