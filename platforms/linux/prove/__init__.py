"""Proofs for Linux: rigs that try to break what durably promises. See the README of the folder above."""
