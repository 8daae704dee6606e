-- Sign-in without plaintext (docs/data-model.md): a session opens only for a caller that shows the proof made from the password.

-- The salt of the credential behind a look-up value; NULL for nobody (the door makes up a stable one and goes on with the same work).
CREATE OR REPLACE FUNCTION vault.sign_in_salt(service bytea, of_dataset smallint, of_ordinal smallint, epochs int[], digests bytea[]) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(service); found bytea;
BEGIN
    IF s.kind <> 'service' THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    PERFORM vault.check_search(of_dataset, epochs);
    -- Here and below each digest is looked up by itself (OFFSET 0), as in vault.ask_find.
    SELECT h.salt INTO found FROM unnest(epochs, digests) AS d (epoch, digest) CROSS JOIN LATERAL (
        SELECT c.salt FROM vault.lookup l JOIN vault.credential c ON c.subject_id = l.subject_id
        WHERE l.dataset = of_dataset AND l.ordinal = of_ordinal AND l.epoch = d.epoch AND l.digest = d.digest AND l.sole OFFSET 0) h LIMIT 1;
    RETURN found;
END $$;

-- verdict 0 opened, 1 wrong or unknown, 2 right, but the address is not verified yet. Always one audit row.
CREATE OR REPLACE FUNCTION vault.sign_in(service bytea, of_dataset smallint, of_ordinal smallint, epochs int[], digests bytea[], proof bytea, new_secret bytea,
    ttl_seconds int, for_purpose smallint, for_reason smallint) RETURNS TABLE (actor uuid, verdict smallint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    here text := vault.door();
    s vault.session := vault.actor(service);
    c vault.credential; j vault.subject; opened vault.session; staff boolean;
BEGIN
    IF s.kind <> 'service' OR NOT EXISTS (
        SELECT FROM vault.door_compartment x JOIN vault.dataset d ON d.compartment = x.compartment
        WHERE x.policy_id = pol AND x.door = here AND d.id = of_dataset AND x.mode = 'full') THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    PERFORM vault.check_reason(pol, for_purpose, for_reason, NULL);
    PERFORM vault.check_search(of_dataset, epochs);
    SELECT h.* INTO c FROM unnest(epochs, digests) AS d (epoch, digest) CROSS JOIN LATERAL (
        SELECT cr.* FROM vault.lookup l JOIN vault.credential cr ON cr.subject_id = l.subject_id
        WHERE l.dataset = of_dataset AND l.ordinal = of_ordinal AND l.epoch = d.epoch AND l.digest = d.digest AND l.sole OFFSET 0) h LIMIT 1;
    -- The person, then the credential, as an erasure and a new password take them. Looked at again while held: whoever changes or ends it waits and then sees
    -- this session, or was waited for, and the old proof opens nothing.
    SELECT * INTO j FROM vault.subject x WHERE x.subject_id = c.subject_id FOR SHARE;
    SELECT * INTO c FROM vault.credential x WHERE x.subject_id = j.subject_id FOR SHARE;
    IF c.subject_id IS NULL OR j.state = 'erased' OR sha256(proof) IS DISTINCT FROM c.check_hash THEN
        PERFORM vault.note(s, pol, 9::smallint, false, c.subject_id, NULL, of_dataset, 0, for_purpose, for_reason, NULL);
        verdict := 1; RETURN NEXT; RETURN;
    END IF;
    IF c.verified_at IS NULL THEN
        PERFORM vault.note(s, pol, 9::smallint, false, c.subject_id, NULL, of_dataset, 0, for_purpose, for_reason, NULL);
        verdict := 2; RETURN NEXT; RETURN;
    END IF;
    -- Staff prove their second factor within a quarter of an hour, and can do nothing else until then.
    staff := vault.is_staff(c.role);
    INSERT INTO vault.session (secret_hash, actor, role, org_id, door, kind, expires_at, usable)
    VALUES (new_secret, c.subject_id, c.role, j.org_id, here, 'session',
        clock_timestamp() + make_interval(secs => least(greatest(ttl_seconds, 60), CASE WHEN staff THEN 900 ELSE 43200 END)), NOT staff)
    RETURNING * INTO opened;
    PERFORM vault.note(opened, pol, 9::smallint, true, c.subject_id, NULL, of_dataset, 0, for_purpose, for_reason, NULL);
    actor := c.subject_id; verdict := 0; RETURN NEXT;
END $$;

-- Who a secret proves. `usable` false: a member of staff who still has to prove the second factor, and may do nothing else.
DROP FUNCTION IF EXISTS vault.whoami(bytea);
CREATE OR REPLACE FUNCTION vault.whoami(secret bytea) RETURNS TABLE (actor uuid, role text, org_id uuid, kind text, expires_at timestamptz, auth_at timestamptz,
    usable boolean, second_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.signed_in(secret);
BEGIN
    RETURN QUERY SELECT s.actor, r.name, s.org_id, s.kind, s.expires_at, s.auth_at, s.usable, s.second_at FROM vault.role r WHERE r.id = s.role;
END $$;

-- Ends this session, or all sessions of its actor. Ending what has ended is no error.
CREATE OR REPLACE FUNCTION vault.sign_out(secret bytea, everywhere boolean) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session; ended int;
BEGIN
    SELECT * INTO s FROM vault.session x WHERE x.secret_hash = secret AND x.kind = 'session' AND x.door = vault.door() AND x.revoked_at IS NULL;
    IF NOT FOUND THEN RETURN 0; END IF;
    UPDATE vault.session x SET revoked_at = clock_timestamp()
        WHERE x.revoked_at IS NULL AND (x.secret_hash = secret OR everywhere AND x.actor = s.actor AND x.kind = 'session');
    GET DIAGNOSTICS ended = ROW_COUNT;
    PERFORM vault.note(s, vault.policy_in_force(), 10::smallint, true, s.actor, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
    RETURN ended;
END $$;

-- The salt of one's own credential, and the renewal of a session's freshness by showing the proof again (step-up before what cannot be undone).
CREATE OR REPLACE FUNCTION vault.own_salt(secret bytea) RETURNS bytea
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(secret);
BEGIN
    RETURN (SELECT c.salt FROM vault.credential c WHERE c.subject_id = s.actor);
END $$;

CREATE OR REPLACE FUNCTION vault.prove_again(secret bytea, proof bytea) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(secret); ok boolean;
BEGIN
    ok := EXISTS (SELECT FROM vault.credential c WHERE c.subject_id = s.actor AND c.check_hash = sha256(proof));
    IF ok THEN UPDATE vault.session x SET auth_at = clock_timestamp() WHERE x.secret_hash = secret; END IF;
    PERFORM vault.note(s, vault.policy_in_force(), 9::smallint, ok, s.actor, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
    RETURN ok;
END $$;

-- The first credential of a person made in the same transaction or without one yet. Members start unverified; who appoints staff vouches for the address.
DROP FUNCTION IF EXISTS vault.set_first_credential(bytea, uuid, text, bytea, text, bytea, boolean);
CREATE OR REPLACE FUNCTION vault.set_first_credential(service bytea, whom uuid, role_name text, new_salt bytea, new_parameters text, new_check bytea) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(service);
    r vault.role;
BEGIN
    SELECT * INTO r FROM vault.role x WHERE x.name = role_name;
    IF r.id IS NULL OR s.kind <> 'service' OR NOT (r.kind = 'member' AND vault.door() IN ('site', 'verifier') OR r.kind = 'staff' AND vault.door() = 'console')
        OR EXISTS (SELECT FROM vault.staff_end e WHERE e.subject_id = whom)
        OR NOT EXISTS (SELECT FROM vault.audit a WHERE a.subject = whom AND a.operation = 4 AND a.xact = pg_current_xact_id() AND a.actor = s.actor) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    INSERT INTO vault.credential (subject_id, role, salt, parameters, check_hash) VALUES (whom, r.id, new_salt, new_parameters, new_check);
    PERFORM vault.note(s, pol, 11::smallint, true, whom, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
EXCEPTION WHEN unique_violation THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
END $$;
