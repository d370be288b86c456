"""The graphs of the jobs, Beam's options, and watching a runner."""
