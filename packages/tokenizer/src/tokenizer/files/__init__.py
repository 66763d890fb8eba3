"""Encode files of any size into token files."""
