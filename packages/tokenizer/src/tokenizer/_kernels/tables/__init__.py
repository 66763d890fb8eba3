"""Build the tables that the kernels look bytes, pairs and pretokens up in."""
