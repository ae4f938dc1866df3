"""The parts of `durably.filesystem`."""
