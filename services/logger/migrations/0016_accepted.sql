-- Who accepted that an instance's events cannot be proven complete: a row of the command line, beside the instance's own beats.
ALTER TABLE metrion.gateways ADD COLUMN IF NOT EXISTS accepted_by String DEFAULT '' AFTER pending_bytes;
