"""Take samples in processes of their own, and keep what they gave."""
