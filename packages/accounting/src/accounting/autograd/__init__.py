"""Follow the tensors of a training step as autograd does, without computing any."""
