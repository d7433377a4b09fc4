"""What an analysis' `collect` needs beyond one look: what is read from the model, and at which words."""
