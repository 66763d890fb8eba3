"""State in sentences what runs and studies show."""
