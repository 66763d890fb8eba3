"""Cut text into pretokens in compiled code."""
