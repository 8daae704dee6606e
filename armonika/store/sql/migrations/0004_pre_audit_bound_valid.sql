-- Looks at the rows, while readers and writers go on.
ALTER TABLE vault.audit VALIDATE CONSTRAINT audit_bound;
