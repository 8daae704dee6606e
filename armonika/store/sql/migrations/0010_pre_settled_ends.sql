-- Which transaction wrote a line of what ended, and before which transaction all of them have ended and people without a record were looked for
-- (vault.end_empty): numbers and times are taken before a transaction ends, so neither says what is settled.
ALTER TABLE vault.ended ADD COLUMN xact xid8;
ALTER TABLE vault.ended ALTER COLUMN xact SET DEFAULT pg_current_xact_id();
ALTER TABLE vault.retention_state ADD COLUMN swept_xact xid8 NOT NULL DEFAULT '0';
