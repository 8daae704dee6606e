"""The audit log: sealed into a Merkle tree (RFC 6962) with signed checkpoints, verified by code that shares nothing with the writer."""
