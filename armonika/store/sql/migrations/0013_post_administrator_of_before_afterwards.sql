-- What was done before this release: nobody has seen it. The log is looked through once, by whoever starts; nobody waits for it and the sealer goes on, for until
-- the look is over nothing is written and nothing is held but what a reader holds.
DO $$
DECLARE numbers bigint[] := (SELECT array_agg(a.audit_id) FROM vault.audit a WHERE a.door = 'administrator');
BEGIN
    INSERT INTO vault.administrator_entry (audit_id, at, operation, granted, actor, role, subject, reference)
        SELECT a.audit_id, a.at, a.operation, a.granted, a.actor, a.role, a.subject, a.reference FROM vault.audit a WHERE a.audit_id = ANY (numbers)
        ON CONFLICT DO NOTHING;
END $$;
