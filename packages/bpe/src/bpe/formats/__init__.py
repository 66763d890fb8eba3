"""Read and write the files that vocabularies and counts are kept in."""
