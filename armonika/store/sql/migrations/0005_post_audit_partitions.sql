-- The audit log in partitions of 25 million entries. They are cut by number, which is the order of time: a time in the key would cost the
-- uniqueness of a number over all of them. The bound is proven already (0004), so that nothing is scanned while the table is held.
ALTER TABLE vault.audit RENAME TO audit_old;
ALTER INDEX vault.audit_pkey RENAME TO audit_old_pkey;
ALTER INDEX vault.audit_subject RENAME TO audit_old_subject;
CREATE TABLE vault.audit (LIKE vault.audit_old INCLUDING DEFAULTS INCLUDING CONSTRAINTS, PRIMARY KEY (audit_id)) PARTITION BY RANGE (audit_id);
ALTER TABLE vault.audit DROP CONSTRAINT audit_bound;
-- The only writers are the functions, with constants: looking each up again was a fifth of an ask.
ALTER TABLE vault.audit_old DROP CONSTRAINT audit_operation_fkey;
CREATE INDEX audit_subject ON vault.audit (subject, audit_id);
DO $$
DECLARE bound bigint := (SELECT substring(pg_get_constraintdef(oid) FROM '[0-9]{8,}')::bigint FROM pg_constraint WHERE conname = 'audit_bound' AND conrelid = 'vault.audit_old'::regclass);
BEGIN
    EXECUTE format('ALTER TABLE vault.audit ATTACH PARTITION vault.audit_old FOR VALUES FROM (MINVALUE) TO (%s)', bound);
END $$;
ALTER TABLE vault.audit_old DROP CONSTRAINT audit_bound;
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.audit FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();
GRANT SELECT, INSERT ON vault.audit TO armonika_vault;
