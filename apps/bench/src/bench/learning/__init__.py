"""Count the tokens that each training method needs to reach the same loss."""
