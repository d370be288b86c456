"""Telling people and machines how a run ended: one log line, and a webhook where one is given."""

from beam_jobs.notify.alert import announce, log_to_standard_error
from beam_jobs.notify.outcome import Outcome
from beam_jobs.notify.webhook import Webhook, webhook_of

__all__ = ["Outcome", "Webhook", "announce", "log_to_standard_error", "webhook_of"]
