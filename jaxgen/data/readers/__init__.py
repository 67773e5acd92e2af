"""Readers: from files of one format to arrays."""
