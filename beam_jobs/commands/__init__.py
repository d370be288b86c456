"""The verbs: a file each, and the command line that they share."""
