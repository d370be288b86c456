"""Configuration -> Plan. Changes nothing; finds every mistake that can be found before any work."""

from beam_jobs.plan.checks import check_model, find_images
from beam_jobs.plan.inputs import match_inputs
from beam_jobs.plan.monthly import plan_monthly
from beam_jobs.plan.plan import Plan, Reference, describe
from beam_jobs.plan.requests import plan_requests, request_spec
from beam_jobs.runs.run_row import Job

__all__ = [
    "Job",
    "Plan",
    "Reference",
    "check_model",
    "describe",
    "find_images",
    "match_inputs",
    "plan_monthly",
    "plan_requests",
    "request_spec",
]
