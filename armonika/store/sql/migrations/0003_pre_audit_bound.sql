-- The audit log becomes a partitioned table (0005). First the bound of what is there already, without looking at a row.
DO $$
DECLARE bound bigint := ((SELECT coalesce(max(audit_id), 0) FROM vault.audit) / 25000000 + 2) * 25000000;
BEGIN
    EXECUTE format('ALTER TABLE vault.audit ADD CONSTRAINT audit_bound CHECK (audit_id < %s) NOT VALID', bound);
END $$;
