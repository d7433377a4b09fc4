"""What an analysis' `tabulate` needs beyond one look: stored tensors to tables, without a model."""
