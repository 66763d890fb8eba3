"""Save and restore everything that must survive the process."""
