-- Who of staff may do what: the list, its review, and the end of an appointment (claim 7a.4; docs/security/access.md).

-- The policy's word on whether this actor may review access. Internal.
CREATE OR REPLACE FUNCTION vault.reviewer(secret bytea, for_purpose smallint, for_reason smallint) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE pol int := vault.policy_in_force(); s vault.session := vault.actor(secret);
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, NULL);
    IF s.kind <> 'session' OR NOT EXISTS (SELECT FROM vault.rule r JOIN vault.role x ON x.id = r.role AND x.kind = 'staff'
        WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = for_purpose AND r.operation = 41 AND r.scope = 'all') THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    RETURN s;
END $$;

-- Every credential of a staff role. Holds no name. Internal.
CREATE OR REPLACE FUNCTION vault.staff_list() RETURNS TABLE (subject uuid, role text, since timestamptz, last_sign_in timestamptz, second_factor boolean, codes_left int)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT c.subject_id, r.name, j.created_at, (SELECT max(x.created_at) FROM vault.session x WHERE x.actor = c.subject_id AND x.kind = 'session' AND x.usable),
        f.subject_id IS NOT NULL, (SELECT count(*)::int FROM vault.recovery_code k WHERE k.subject_id = c.subject_id AND k.used_at IS NULL)
    FROM vault.credential c JOIN vault.role r ON r.id = c.role AND r.kind = 'staff' JOIN vault.subject j ON j.subject_id = c.subject_id
    LEFT JOIN vault.second_factor f ON f.subject_id = c.subject_id ORDER BY r.name, j.created_at, c.subject_id
$$;

-- What a review is of: the accounts with their roles, and the policy that says what a role may do. Internal.
CREATE OR REPLACE FUNCTION vault.staff_digest() RETURNS bytea
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT sha256(convert_to((SELECT p.sha256 FROM vault.policy_version p WHERE p.policy_id = vault.policy_in_force())
        || coalesce((SELECT string_agg(l.subject || ' ' || l.role, E'\n' ORDER BY l.subject) FROM vault.staff_list() l), ''), 'UTF8'))
$$;

-- The first step to the list for who may review it (describe.sql): its entry. Returns the number.
CREATE OR REPLACE FUNCTION vault.consult_staff(secret bytea, for_purpose smallint, for_reason smallint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.reviewer(secret, for_purpose, for_reason);
BEGIN
    RETURN vault.note(s, vault.policy_in_force(), 3::smallint, true, NULL, NULL, NULL, 0, for_purpose, for_reason, NULL);
END $$;

-- Whose ticket of vault.consult_staff this is: who may review, as AR403 or AR401 says of anybody else. Internal.
CREATE OR REPLACE FUNCTION vault.reviewing(secret bytea, ticket bigint) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    asked record := vault.consulted(vault.actor(secret), ticket, 3::smallint);
    s vault.session := vault.reviewer(secret, asked.purpose, asked.reason);
BEGIN
    IF asked.subject IS NOT NULL THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    RETURN s;
END $$;

-- The list, with the digest that a review names and the last review (or the start of the installation).
DROP FUNCTION IF EXISTS vault.staff_accounts(bytea, smallint, smallint);
CREATE OR REPLACE FUNCTION vault.staff_accounts(secret bytea, ticket bigint)
RETURNS TABLE (subject uuid, role text, since timestamptz, last_sign_in timestamptz, second_factor boolean, codes_left int, digest bytea, reviewed_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE shown bytea;
BEGIN
    PERFORM vault.reviewing(secret, ticket);
    -- Once, not once an account: it goes through all of them.
    shown := vault.staff_digest();
    RETURN QUERY SELECT l.*, shown, (SELECT max(v.at) FROM vault.access_review v) FROM vault.staff_list() l;
END $$;

-- A review by a person: of the list as it is now, or AR412 when it changed since it was shown. Returns the audit row's number.
CREATE OR REPLACE FUNCTION vault.record_review(secret bytea, for_purpose smallint, for_reason smallint, shown bytea) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.reviewer(secret, for_purpose, for_reason); n bigint;
BEGIN
    IF shown IS DISTINCT FROM vault.staff_digest() THEN RAISE EXCEPTION USING ERRCODE = 'AR412', MESSAGE = 'the accounts changed since they were shown'; END IF;
    n := vault.note(s, vault.policy_in_force(), 41::smallint, true, NULL, NULL, NULL, 0, for_purpose, for_reason, NULL);
    INSERT INTO vault.access_review (actor, accounts, digest, audit_id) SELECT s.actor, count(*), shown, n FROM vault.staff_list();
    RETURN n;
END $$;

-- The entry of what the operator does to an account, in the name of the console's service. Internal.
CREATE OR REPLACE FUNCTION vault.note_staff(what smallint, whom uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    RETURN vault.note(vault.service_of('console'), vault.policy_in_force(), what, true, whom, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
END $$;

-- Whether a role is of staff. Internal.
CREATE OR REPLACE FUNCTION vault.is_staff(asked_role smallint) RETURNS boolean LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT EXISTS (SELECT FROM vault.role r WHERE r.id = asked_role AND r.kind = 'staff')
$$;

-- Confirms an appointment: until then nobody signs in with what the console wrote, so that a console that was taken over makes no staff. For the administrator.
CREATE OR REPLACE FUNCTION vault.staff_appoint(whom uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    UPDATE vault.credential c SET verified_at = clock_timestamp()
        WHERE c.subject_id = whom AND c.verified_at IS NULL AND vault.is_staff(c.role);
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    RETURN vault.note_staff(11::smallint, whom);
END $$;

-- A member of staff lost the factor: a new password, no factor, no session. They enrol again at the next sign-in. An appointment that was cut off before it was
-- confirmed is confirmed. For the administrator.
CREATE OR REPLACE FUNCTION vault.staff_reset(whom uuid, new_salt bytea, new_parameters text, new_check bytea) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    UPDATE vault.credential c SET salt = new_salt, parameters = new_parameters, check_hash = new_check, changed_at = clock_timestamp(),
            verified_at = coalesce(c.verified_at, clock_timestamp())
        WHERE c.subject_id = whom AND vault.is_staff(c.role);
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    DELETE FROM vault.second_factor f WHERE f.subject_id = whom;
    UPDATE vault.session x SET revoked_at = clock_timestamp() WHERE x.actor = whom AND x.kind = 'session' AND x.revoked_at IS NULL;
    RETURN vault.note_staff(40::smallint, whom);
END $$;

-- An appointment ends: credential, factor and sessions at once, and they never come back to this pseudonym. For the administrator.
CREATE OR REPLACE FUNCTION vault.staff_end(whom uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE n bigint;
BEGIN
    DELETE FROM vault.credential c WHERE c.subject_id = whom AND vault.is_staff(c.role);
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    DELETE FROM vault.challenge x WHERE x.subject_id = whom;
    UPDATE vault.session x SET revoked_at = clock_timestamp() WHERE x.actor = whom AND x.revoked_at IS NULL;
    n := vault.note_staff(42::smallint, whom);
    INSERT INTO vault.staff_end (subject_id, audit_id) VALUES (whom, n);
    RETURN n;
END $$;

-- Ends one living token of the machine API at once, by the first digits of its hash. Returns the entry, whose subject is the token's pseudonym. For the administrator.
CREATE OR REPLACE FUNCTION vault.end_token(begins text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE ended uuid[];
BEGIN
    IF begins !~ '^[0-9a-f]{8,64}$' THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'a token is named by eight digits of its hash or more'; END IF;
    WITH done AS (
        UPDATE vault.session x SET revoked_at = clock_timestamp() WHERE x.kind = 'token' AND x.revoked_at IS NULL AND left(encode(x.secret_hash, 'hex'), length(begins)) = begins
        RETURNING x.actor)
    SELECT array_agg(d.actor) INTO ended FROM done d;
    IF cardinality(ended) IS DISTINCT FROM 1 THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    RETURN vault.note_staff(12::smallint, ended[1]);
END $$;
