"""Build the tables in which kernels find bytes, pairs and pretokens."""
