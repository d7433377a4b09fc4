"""What an analysis' `draw` needs beyond one look, and the figures that calls draw as well."""
