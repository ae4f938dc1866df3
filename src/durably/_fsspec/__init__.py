"""The parts of `durably.filesystem`. They need nothing of fsspec but what it hands over."""
