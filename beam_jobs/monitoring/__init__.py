"""What is odd about a run: anomalies from statistics, the policy, the gate."""
