"""Which columns are looked at when a participant is erased, and why the others are not."""

import sqlalchemy as sa

from pdsapp.models import Base
from pdsapp.services import erasing


def test_every_column_that_may_hold_text_is_looked_at_or_left_for_a_reason():
    looked_at = {
        f"{column.class_.__tablename__}.{column.key}" for step in erasing.STEPS for column in step.columns
    }
    kinds = (sa.String, sa.Text, sa.JSON)
    columns = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, kinds) and not isinstance(column.type, sa.Enum)
    }
    assert looked_at <= columns
    assert looked_at.isdisjoint(LEFT_ALONE)
    assert columns - looked_at == set(LEFT_ALONE), "say of a new column whether a participant can be in it"


_REASONS = {
    "people who work here are no participants": """
        account.email account.password account.fs_uniquifier account.zone account.theme role.name
        role.description sign_in_link.token_sha256 audit_event.actor protocol_change.made_by
        installation.paused_by api_token.paused_by experiment.paused_by schedule.paused_by""",
    "what researchers set for all or for a twin: no text of a feed goes there": """
        installation.paused_reason posting_policy.label posting_policy.body prompt_version.body
        api_token.name api_token.base_url api_token.default_model api_token.parameters
        api_token.paused_reason experiment.name experiment.zone persona.name persona.notes
        persona_version.text schedule.cron schedule.zone schedule.target schedule.lane
        schedule_revision.cron schedule_revision.zone schedule_revision.target schedule_revision.lane
        digital_twin.llm_url digital_twin.llm_model digital_twin.parameters twin_tag.tag""",
    "of endpoints and models, before a feed is read": """
        api_token.last_test_detail api_token.last_test_steps api_token.last_test_models
        model_seen.endpoint model_seen.model_asked model_seen.model_returned model_seen.system_fingerprint
        model_seen.model_before model_seen.fingerprint_before attempt.model model_call.endpoint
        model_call.endpoint_source model_call.model_asked model_call.model_returned
        model_call.system_fingerprint model_call.parameters model_call.finish_reason
        endpoint_breaker.place endpoint_breaker.detail""",
    "keys, hashes and secrets": """
        installation.seed posting_policy.hash prompt_version.hash api_token.secret_encrypted
        api_token.last_four api_token.fingerprint experiment.identifier experiment.seed
        persona_version.hash bulk_import.fingerprint bulk_import.lease_token model_seen.asked_key
        model_seen.seen_key settled_line.key notice_line.key attempt.request_id attempt.selection_key
        attempt.decision_key attempt.messages_sha256 model_call.messages_sha256""",
    "words and names of ours": """
        downtime.found_by heartbeat.name heartbeat.host heartbeat.lanes notice.event notice_line.level
        notice_mark.name rollup_mark.source audit_event.action audit_event.object_type slot.claimed_by
        slot.draw slot.cursor slot.ends
        attempt.lane attempt.claimed_by attempt.service attempt.asked_band
        attempt.length_band
        lost_lease.worker
        call_tally.endpoint call_tally.model call_tally.outcome length_tally.length_band length_tally.fit
        outcome_tally.state outcome_tally.reason_class outcome_tally.reason outcome_tally.verdict""",
    "a sheet of twins, emptied when they are set up and forgotten after a day": """
        bulk_import.source bulk_import.content bulk_import.reason bulk_import.message""",
    "changed in the first transaction, or emptied in the last": """
        user_profile.username user_profile.username_key withdrawal.pseudonym withdrawal.texts
        withdrawal.names withdrawal.progress withdrawal.counts""",
}  # fmt: skip
LEFT_ALONE = {column: reason for reason, columns in _REASONS.items() for column in columns.split()}
