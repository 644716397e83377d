"""The parts of a checkpoint: its place on disk, how it is staged and written, how it is mirrored."""
