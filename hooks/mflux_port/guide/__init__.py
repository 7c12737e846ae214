"""Find the next action for a port: there is always exactly one."""
