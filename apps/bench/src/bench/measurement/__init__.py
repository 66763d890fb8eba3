"""Take samples in processes of their own, and keep their results."""
