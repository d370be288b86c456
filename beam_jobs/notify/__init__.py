"""How a run ended, said to people and machines: one log line, and a webhook if one is given."""

from beam_jobs.notify.alert import announce, log_to_standard_error
from beam_jobs.notify.webhook import Webhook, webhook_of

__all__ = ["Webhook", "announce", "log_to_standard_error", "webhook_of"]
