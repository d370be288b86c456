"""What tests of several rooms share: servers, models, runs, processes that die."""
