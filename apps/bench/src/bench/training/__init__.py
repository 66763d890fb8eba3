"""Train the reference model beside every baseline."""
