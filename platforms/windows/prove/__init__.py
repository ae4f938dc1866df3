"""Proofs for Windows: the test suite in a Windows Python under Wine. See the README of the folder above."""
