-- When a record's period begins, what the policy says of its end, and how far the job is (docs/security/retention.md).
CREATE TABLE vault.declared_retention (
    policy_id int NOT NULL REFERENCES vault.policy_version, dataset smallint NOT NULL REFERENCES vault.dataset,
    class text NOT NULL, days int NOT NULL CHECK (days BETWEEN 1 AND 36600),
    starts text NOT NULL CHECK (starts IN ('recording', 'event', 'latest-event')), locked boolean NOT NULL, zone text NOT NULL,
    PRIMARY KEY (policy_id, dataset)
);
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.declared_retention FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();

-- The event from which a record is kept, where that is not its recording: a time and the entry that says so, nothing personal. It goes with its
-- record (vault.kept_by_law), and cannot come in behind its end: whoever writes it holds person and record.
CREATE TABLE vault.retention (
    subject_id uuid NOT NULL, record_id uuid NOT NULL, dataset smallint NOT NULL REFERENCES vault.dataset,
    began_at timestamptz NOT NULL, audit_id bigint NOT NULL, PRIMARY KEY (subject_id, record_id)
);
CREATE INDEX retention_began ON vault.retention (dataset, began_at);

-- ran_at: the newest time at which the job was at work. A clock far ahead of it is not believed. swept: up to which number of vault.ended people
-- without a record were looked for.
CREATE TABLE vault.retention_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), ran_at timestamptz NOT NULL DEFAULT clock_timestamp(), swept bigint NOT NULL DEFAULT 0
);
INSERT INTO vault.retention_state DEFAULT VALUES;

INSERT INTO vault.operation VALUES (30, 'event'), (31, 'event-withdrawn');

-- What it does is written in functions/event.sql, as every function is.
CREATE FUNCTION vault.kept_by_law() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, vault, pg_temp AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER kept_by_law AFTER DELETE ON vault.record REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION vault.kept_by_law();
