"""Count pretokens in compiled code."""
