-- Erased people whose keys are still being destroyed (docs/security/erasure.md), and what the register says of a whole person: how many records ended
-- with the erasure, and how many the law keeps.
CREATE TABLE vault.erasing (
    subject_id uuid PRIMARY KEY REFERENCES vault.subject, audit_id bigint NOT NULL, since timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX erasing_since ON vault.erasing (since, subject_id);
ALTER TABLE vault.ended ADD COLUMN records int, ADD COLUMN kept int;
