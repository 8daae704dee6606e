"""Proves the claims of the policy against the running system."""
