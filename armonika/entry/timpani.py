"""Timpani's process holds the keys of traffic, and so moves them when they rotate: no other process may hold them beside those of applicants."""

from __future__ import annotations

from armonika.entry.keeper import run

if __name__ == "__main__":
    run("timpani")
