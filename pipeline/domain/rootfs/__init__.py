"""A host's definition as the files of its image: every part is a pure function from values to entries."""
