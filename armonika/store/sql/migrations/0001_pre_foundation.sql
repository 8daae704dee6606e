-- The tables of the vault (docs/data-model.md). Owner: armonika_store. Nobody but armonika_vault, the owner of the functions, has a right on them.
CREATE SCHEMA IF NOT EXISTS vault AUTHORIZATION armonika_store;

CREATE TABLE vault.installation (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    keyring_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE vault.compartment (id smallint PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE vault.dataset (id smallint PRIMARY KEY, name text NOT NULL UNIQUE, compartment smallint NOT NULL REFERENCES vault.compartment);
CREATE TABLE vault.field (
    dataset smallint NOT NULL REFERENCES vault.dataset,
    ordinal smallint NOT NULL CHECK (ordinal BETWEEN 1 AND 62),
    name text NOT NULL,
    PRIMARY KEY (dataset, ordinal),
    UNIQUE (dataset, name)
);
CREATE TABLE vault.purpose (id smallint PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE vault.role (id smallint PRIMARY KEY, name text NOT NULL UNIQUE, kind text NOT NULL CHECK (kind IN ('member', 'staff', 'service', 'machine')));
CREATE TABLE vault.reason (id smallint PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE vault.operation (id smallint PRIMARY KEY, name text NOT NULL UNIQUE);
INSERT INTO vault.operation VALUES
    (1, 'read'), (2, 'find'), (3, 'describe'), (4, 'create'), (5, 'correct'), (6, 'erase'), (7, 'restrict'), (8, 'release'), (9, 'sign-in'),
    (10, 'sign-out'), (11, 'credential'), (12, 'token'), (13, 'policy'), (14, 'export'), (15, 'verify'), (16, 'accesses');

CREATE TABLE vault.policy_version (
    policy_id int PRIMARY KEY,
    version text NOT NULL,
    effective_from timestamptz NOT NULL UNIQUE,
    sha256 text NOT NULL UNIQUE CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    document text NOT NULL,
    catalogue jsonb NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- What a policy version declares; ids are assigned once and shared by all versions.
CREATE TABLE vault.declared_field (
    policy_id int NOT NULL REFERENCES vault.policy_version, dataset smallint NOT NULL, fields bigint NOT NULL, unique_fields bigint NOT NULL,
    indexed_fields bigint NOT NULL, PRIMARY KEY (policy_id, dataset)
);
CREATE TABLE vault.declared_purpose (
    policy_id int NOT NULL REFERENCES vault.policy_version, purpose smallint NOT NULL REFERENCES vault.purpose, while_restricted boolean NOT NULL,
    PRIMARY KEY (policy_id, purpose)
);
CREATE TABLE vault.declared_reason (
    policy_id int NOT NULL REFERENCES vault.policy_version, reason smallint NOT NULL REFERENCES vault.reason,
    purpose smallint NOT NULL REFERENCES vault.purpose, PRIMARY KEY (policy_id, reason, purpose)
);
CREATE TABLE vault.door_compartment (
    policy_id int NOT NULL REFERENCES vault.policy_version, door text NOT NULL, compartment smallint NOT NULL REFERENCES vault.compartment,
    mode text NOT NULL CHECK (mode IN ('full', 'seal')), PRIMARY KEY (policy_id, door, compartment)
);
CREATE TABLE vault.rule (
    policy_id int NOT NULL REFERENCES vault.policy_version, role smallint NOT NULL REFERENCES vault.role, purpose smallint NOT NULL REFERENCES vault.purpose,
    dataset smallint NOT NULL REFERENCES vault.dataset, operation smallint NOT NULL REFERENCES vault.operation,
    scope text NOT NULL CHECK (scope IN ('own', 'org', 'all')), fields bigint NOT NULL,
    PRIMARY KEY (policy_id, role, purpose, dataset, operation, scope)
);

CREATE TABLE vault.organisation (
    org_id uuid PRIMARY KEY, state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'closed')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE vault.subject (
    subject_id uuid PRIMARY KEY, kind text NOT NULL, org_id uuid REFERENCES vault.organisation,
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'restricted', 'erased')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX subject_org ON vault.subject (org_id) WHERE org_id IS NOT NULL;

-- Arrays by field ordinal: a read of one record is one row. Ciphertexts are incompressible, so they are stored as they are.
CREATE TABLE vault.record (
    subject_id uuid NOT NULL REFERENCES vault.subject,
    record_id uuid NOT NULL,
    dataset smallint NOT NULL REFERENCES vault.dataset,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    present bigint NOT NULL,
    versions int[] NOT NULL,
    ciphertexts bytea[] NOT NULL,
    origins smallint[] NOT NULL CHECK (array_position(origins, 0::smallint) IS NULL),
    events bigint[] NOT NULL,
    PRIMARY KEY (subject_id, record_id),
    CHECK (cardinality(versions) = cardinality(ciphertexts) AND cardinality(origins) = cardinality(ciphertexts) AND cardinality(events) = cardinality(ciphertexts))
);
CREATE TABLE vault.data_key (
    subject_id uuid NOT NULL, record_id uuid NOT NULL,
    compartment smallint NOT NULL REFERENCES vault.compartment, epoch int NOT NULL, kind smallint NOT NULL CHECK (kind IN (1, 2)),
    wrapped bytea NOT NULL,
    PRIMARY KEY (subject_id, record_id),
    FOREIGN KEY (subject_id, record_id) REFERENCES vault.record ON DELETE CASCADE
) WITH (fillfactor = 80);
ALTER TABLE vault.record ALTER COLUMN ciphertexts SET STORAGE EXTERNAL;
ALTER TABLE vault.data_key ALTER COLUMN wrapped SET STORAGE EXTERNAL;
CREATE TABLE vault.lookup (
    dataset smallint NOT NULL, ordinal smallint NOT NULL, epoch int NOT NULL, digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    subject_id uuid NOT NULL, record_id uuid NOT NULL, sole boolean NOT NULL,
    PRIMARY KEY (dataset, ordinal, epoch, digest, subject_id, record_id),
    FOREIGN KEY (subject_id, record_id) REFERENCES vault.record ON DELETE CASCADE
);
CREATE UNIQUE INDEX lookup_sole ON vault.lookup (dataset, ordinal, epoch, digest) WHERE sole;
CREATE INDEX lookup_record ON vault.lookup (subject_id, record_id);

CREATE TABLE vault.credential (
    subject_id uuid PRIMARY KEY REFERENCES vault.subject, role smallint NOT NULL REFERENCES vault.role,
    salt bytea NOT NULL CHECK (octet_length(salt) = 16), parameters text NOT NULL, check_hash bytea NOT NULL CHECK (octet_length(check_hash) = 32),
    verified_at timestamptz, changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE vault.session (
    secret_hash bytea PRIMARY KEY CHECK (octet_length(secret_hash) = 32),
    actor uuid NOT NULL, role smallint NOT NULL REFERENCES vault.role, org_id uuid, door text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('session', 'token', 'service')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(), expires_at timestamptz NOT NULL, auth_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz, label text CHECK (label ~ '^[a-z0-9-]{1,40}$')
);
CREATE INDEX session_actor ON vault.session (actor);
CREATE TABLE vault.challenge (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32), subject_id uuid NOT NULL REFERENCES vault.subject,
    kind text NOT NULL CHECK (kind IN ('verify-address', 'reset-password')), created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL, used_at timestamptz
);
CREATE INDEX challenge_subject ON vault.challenge (subject_id);
CREATE TABLE vault.tombstone (
    subject_id uuid PRIMARY KEY, erased_at timestamptz NOT NULL DEFAULT clock_timestamp(), audit_id bigint NOT NULL, records int NOT NULL
);

CREATE SEQUENCE vault.audit_number AS bigint;
CREATE TABLE vault.audit (
    audit_id bigint PRIMARY KEY,
    at timestamptz NOT NULL, xact xid8 NOT NULL,
    operation smallint NOT NULL REFERENCES vault.operation, granted boolean NOT NULL, door text NOT NULL,
    actor uuid NOT NULL, role smallint NOT NULL,
    subject uuid, record uuid, dataset smallint, fields bigint NOT NULL DEFAULT 0,
    purpose smallint NOT NULL, reason smallint NOT NULL, reference text CHECK (reference ~ '^[A-Z]{1,8}-?[0-9]{1,12}$'),
    policy_id int NOT NULL
);
CREATE INDEX audit_subject ON vault.audit (subject, audit_id);
CREATE TABLE vault.leaf (
    leaf_no bigint PRIMARY KEY CHECK (leaf_no >= 0), audit_id bigint NOT NULL UNIQUE, leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32)
);
-- How far every audit number is settled (sealed, or lost to an aborted transaction): the sealer looks only beyond `settled`.
CREATE TABLE vault.seal_state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), size bigint NOT NULL DEFAULT 0, settled bigint NOT NULL DEFAULT 0,
    pending bigint NOT NULL DEFAULT 0, pending_xact xid8
);
INSERT INTO vault.seal_state DEFAULT VALUES;

CREATE UNLOGGED TABLE vault.throttle (key bytea PRIMARY KEY, tat timestamptz NOT NULL);
CREATE TABLE vault.trust_report (report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), report jsonb NOT NULL);

-- A second guard beside the missing privileges: not even the owner of the functions changes or deletes what is only ever added.
CREATE FUNCTION vault.keep() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'AR500', MESSAGE = 'rows of this table are never changed or deleted';
END $$;
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.audit FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.leaf FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.policy_version FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.tombstone FOR EACH STATEMENT EXECUTE FUNCTION vault.keep();
