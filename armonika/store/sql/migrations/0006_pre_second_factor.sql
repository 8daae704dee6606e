-- The second factor of staff, ended appointments, and reviews of access (docs/security/access.md).

-- usable: false for a member of staff whose second factor was not proven in this session. Written at sign-in, so that a read costs no join.
ALTER TABLE vault.session ADD COLUMN usable boolean NOT NULL DEFAULT true, ADD COLUMN second_at timestamptz, ADD COLUMN tries smallint NOT NULL DEFAULT 0;
UPDATE vault.session x SET revoked_at = clock_timestamp() FROM vault.role r WHERE r.id = x.role AND r.kind = 'staff' AND x.kind = 'session' AND x.revoked_at IS NULL;

-- The value itself is a field of the person's record. Here is what it is compared with (SHA-256 of a proof made from it), the newest step that was
-- accepted, and the tries since then.
CREATE TABLE vault.second_factor (
    subject_id uuid PRIMARY KEY REFERENCES vault.credential ON DELETE CASCADE,
    check_hash bytea NOT NULL CHECK (octet_length(check_hash) = 32),
    last_step bigint NOT NULL, failures int NOT NULL DEFAULT 0 CHECK (failures >= 0), open_tries int NOT NULL DEFAULT 0 CHECK (open_tries >= 0),
    last_try_at timestamptz NOT NULL DEFAULT clock_timestamp(), enrolled_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE vault.recovery_code (
    code_hash bytea PRIMARY KEY CHECK (octet_length(code_hash) = 32),
    subject_id uuid NOT NULL REFERENCES vault.second_factor ON DELETE CASCADE, used_at timestamptz
);
CREATE INDEX recovery_code_subject ON vault.recovery_code (subject_id);

CREATE TABLE vault.staff_end (
    subject_id uuid PRIMARY KEY REFERENCES vault.subject, ended_at timestamptz NOT NULL DEFAULT clock_timestamp(), audit_id bigint NOT NULL
);
CREATE TABLE vault.access_review (
    review_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor uuid NOT NULL, accounts int NOT NULL, digest bytea NOT NULL CHECK (octet_length(digest) = 32), audit_id bigint NOT NULL
);
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.staff_end FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.access_review FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();

-- 40 and up: numbers of operations are given once, and 22 to 39 are left to others.
INSERT INTO vault.operation VALUES (40, 'second-factor'), (41, 'review'), (42, 'staff-end');
