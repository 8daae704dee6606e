"""Backups: a sealed base backup and a sealed archive of the write-ahead log, with a catalogue; restored to a point in time, into a new place."""
