-- What was done with the administrator's rights, for those who look after it (docs/security/access.md). Nothing personal.
CREATE TABLE vault.administrator_entry (
    audit_id bigint PRIMARY KEY, at timestamptz NOT NULL, operation smallint NOT NULL REFERENCES vault.operation, granted boolean NOT NULL,
    actor uuid NOT NULL, role smallint NOT NULL, subject uuid, reference text CHECK (reference ~ '^[A-Z]{1,8}-?[0-9]{1,12}$')
);
CREATE TABLE vault.administrator_seen (
    audit_id bigint NOT NULL REFERENCES vault.administrator_entry, actor uuid NOT NULL, role smallint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(), entry bigint NOT NULL, PRIMARY KEY (audit_id, actor)
);
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.administrator_entry FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.administrator_seen FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();

-- Policies that are installed from here on get an entry; those of before have none.
ALTER TABLE vault.policy_version ADD COLUMN entry_due boolean NOT NULL DEFAULT false;
ALTER TABLE vault.policy_version ALTER COLUMN entry_due SET DEFAULT true;

INSERT INTO vault.operation VALUES (43, 'administrator-seen'), (44, 'clock-confirmed');
