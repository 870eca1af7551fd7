"""Pure values and rules: no file, process, clock, environment or network is touched here."""
