"""Drills: real faults against real servers on one machine."""
