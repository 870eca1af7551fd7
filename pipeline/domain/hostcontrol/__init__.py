"""What a host runs, and the plan that brings it to another image: values and rules, no I/O."""
