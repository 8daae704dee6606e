-- The second factor of staff (docs/security/access.md; RFC 6238, NIST SP 800-63B §5.1.4, §5.2.2). The door reads the value as everybody reads, by ask and
-- take, and shows a proof made from it, as it does with a password. Tries, replays, recovery codes and the new session are the database's.

-- The session of a member of staff behind a secret, proven or not, or AR403. Internal.
CREATE OR REPLACE FUNCTION vault.staff_session(secret bytea) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session := vault.signed_in(secret);
BEGIN
    IF s.kind <> 'session' OR NOT vault.is_staff(s.role) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    RETURN s;
END $$;

-- The same session with its credential held, and looked at again: whoever sets another password or ends the appointment waits and then sees the session that is opened
-- here, or was waited for, and the session of before opens nothing. The credential before the factor, as they are ended. Internal.
CREATE OR REPLACE FUNCTION vault.held_session(secret bytea) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session := vault.staff_session(secret);
BEGIN
    PERFORM FROM vault.credential c WHERE c.subject_id = s.actor FOR SHARE;
    PERFORM FROM vault.second_factor x WHERE x.subject_id = s.actor FOR UPDATE;
    RETURN vault.staff_session(secret);
END $$;

-- Whether the factor was proven in the last ten minutes. A moment to come means that the clock went back: not fresh. Internal.
CREATE OR REPLACE FUNCTION vault.second_fresh(s vault.session) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT coalesce((s).usable AND (s).second_at BETWEEN clock_timestamp() - interval '10 minutes' AND clock_timestamp() + interval '5 seconds', false)
$$;

-- The number of the present 30 seconds (RFC 6238 §4.2), by the database's clock. Internal.
CREATE OR REPLACE FUNCTION vault.second_step() RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT floor(extract(epoch FROM clock_timestamp()) / 30)::bigint
$$;

-- Where a member of staff stands: whether there is a factor, whether it was proven in this session and lately, whether one may be enrolled now, how many
-- recovery codes are left, the present step, and the record that holds the value.
CREATE OR REPLACE FUNCTION vault.second_state(secret bytea) RETURNS TABLE (enrolled boolean, proven boolean, fresh boolean, may_enrol boolean, codes_left int, step bigint, record uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.staff_session(secret);
BEGIN
    enrolled := EXISTS (SELECT FROM vault.second_factor f WHERE f.subject_id = s.actor);
    proven := s.usable;
    fresh := vault.second_fresh(s);
    may_enrol := CASE WHEN enrolled THEN fresh ELSE EXISTS (
        SELECT FROM vault.credential c WHERE c.subject_id = s.actor AND c.changed_at > clock_timestamp() - interval '14 days') END;
    codes_left := (SELECT count(*) FROM vault.recovery_code r WHERE r.subject_id = s.actor AND r.used_at IS NULL);
    step := vault.second_step();
    record := (SELECT r.record_id FROM vault.record r JOIN vault.dataset d ON d.id = r.dataset AND d.name = 'staff' WHERE r.subject_id = s.actor ORDER BY r.created_at LIMIT 1);
    RETURN NEXT;
END $$;

-- Counts one try before anything is looked at, so that tries at the same time are each counted. `wait`: 0 go on; otherwise the seconds to wait, and nothing
-- was counted; NULL: this session had its eight tries and is ended. Five tries are free, then 30 s, a minute, two … an hour, never for good:
-- a recovery code is not kept waiting, for nobody guesses 80 bits. A proof is accepted only for a try that was counted.
CREATE OR REPLACE FUNCTION vault.second_begin(secret bytea) RETURNS TABLE (wait double precision, step bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    s vault.session := vault.staff_session(secret);
    f vault.second_factor;
    here timestamptz;
    pause interval := interval '0';
BEGIN
    SELECT * INTO f FROM vault.second_factor x WHERE x.subject_id = s.actor FOR UPDATE;
    IF f.subject_id IS NULL THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    s := vault.staff_session(secret);
    here := clock_timestamp();
    step := vault.second_step();
    IF f.last_try_at > here THEN
        -- The clock went back: the wait begins anew, and is not longer than it ever is.
        UPDATE vault.second_factor x SET last_try_at = here WHERE x.subject_id = s.actor RETURNING * INTO f;
    END IF;
    IF f.failures >= 5 THEN pause := make_interval(secs => least(30 * 2 ^ least(f.failures - 5, 10), 3600)); END IF;
    wait := greatest(0, extract(epoch FROM f.last_try_at + pause - here));
    IF wait > 0 THEN RETURN NEXT; RETURN; END IF;
    IF NOT vault.second_count(s) THEN wait := NULL; RETURN NEXT; RETURN; END IF;
    UPDATE vault.second_factor x SET failures = x.failures + 1, open_tries = x.open_tries + 1, last_try_at = here WHERE x.subject_id = s.actor;
    RETURN NEXT;
END $$;

-- One more try of this session; after eight it ends, and the password is asked again. Internal.
CREATE OR REPLACE FUNCTION vault.second_count(s vault.session) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE over boolean;
BEGIN
    UPDATE vault.session x SET tries = x.tries + 1, revoked_at = CASE WHEN x.tries >= 8 THEN clock_timestamp() ELSE x.revoked_at END
        WHERE x.secret_hash = s.secret_hash RETURNING x.tries > 8 INTO over;
    IF over THEN PERFORM vault.note(s, vault.policy_in_force(), 40::smallint, false, s.actor, NULL, NULL, 0, 0::smallint, 0::smallint, NULL); END IF;
    RETURN NOT over;
END $$;

-- The proven session takes the place of the one before, under a secret of its own: who knew the earlier one has nothing. Internal.
CREATE OR REPLACE FUNCTION vault.second_open(s vault.session, new_secret bytea, ttl_seconds int) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE opened vault.session;
BEGIN
    INSERT INTO vault.session (secret_hash, actor, role, org_id, door, kind, expires_at, auth_at, usable, second_at)
    VALUES (new_secret, s.actor, s.role, s.org_id, s.door, 'session',
        CASE WHEN s.usable THEN s.expires_at ELSE clock_timestamp() + make_interval(secs => least(greatest(ttl_seconds, 60), 43200)) END, s.auth_at, true, clock_timestamp())
    RETURNING * INTO opened;
    UPDATE vault.session x SET revoked_at = clock_timestamp() WHERE x.secret_hash = s.secret_hash;
    RETURN opened;
END $$;

-- The code was right: `proof` shows that its value was read, `shown_step` which 30 seconds it is of. Accepted once, in the order of time, within a step of
-- now (two back: the clock may tick in between). NULL for both: the code was wrong. Always one audit row. False: nothing was opened.
CREATE OR REPLACE FUNCTION vault.second_prove(secret bytea, proof bytea, shown_step bigint, new_secret bytea, ttl_seconds int) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    s vault.session := vault.held_session(secret);
    f vault.second_factor;
    ok boolean;
BEGIN
    SELECT * INTO f FROM vault.second_factor x WHERE x.subject_id = s.actor;
    ok := coalesce(f.open_tries > 0 AND sha256(proof) = f.check_hash AND shown_step > f.last_step
        AND shown_step BETWEEN vault.second_step() - 2 AND vault.second_step() + 1 AND octet_length(new_secret) = 32, false);
    UPDATE vault.second_factor x SET open_tries = greatest(x.open_tries - 1, 0), failures = CASE WHEN ok THEN 0 ELSE x.failures END,
        last_step = CASE WHEN ok THEN shown_step ELSE x.last_step END WHERE x.subject_id = s.actor;
    IF ok THEN s := vault.second_open(s, new_secret, ttl_seconds); END IF;
    PERFORM vault.note(s, vault.policy_in_force(), 40::smallint, ok, s.actor, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
    RETURN ok;
END $$;

-- A recovery code in the place of a code: its owner's, unused, once. NULL: this session had its eight tries and is ended.
CREATE OR REPLACE FUNCTION vault.second_recover(secret bytea, proof bytea, new_secret bytea, ttl_seconds int) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.held_session(secret); ok boolean;
BEGIN
    IF NOT vault.second_count(s) THEN RETURN NULL; END IF;
    UPDATE vault.recovery_code r SET used_at = clock_timestamp() WHERE r.code_hash = sha256(proof) AND r.subject_id = s.actor AND r.used_at IS NULL;
    ok := FOUND;
    IF ok THEN
        UPDATE vault.second_factor x SET failures = 0 WHERE x.subject_id = s.actor;
        s := vault.second_open(s, new_secret, ttl_seconds);
    END IF;
    PERFORM vault.note(s, vault.policy_in_force(), 40::smallint, ok, s.actor, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
    RETURN ok;
END $$;

-- Enrols a factor whose value was written to the person's record in this same transaction, with ten recovery codes. The first within 14 days of the password
-- (an appointment or a reset), a further one with the present factor proven in the last ten minutes. Every other session of the person ends.
CREATE OR REPLACE FUNCTION vault.second_enrol(secret bytea, new_check bytea, shown_step bigint, code_hashes bytea[], new_secret bytea, ttl_seconds int) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    s vault.session := vault.staff_session(secret);
    c vault.credential;
BEGIN
    SELECT * INTO c FROM vault.credential x WHERE x.subject_id = s.actor FOR UPDATE;
    s := vault.staff_session(secret);
    IF c.subject_id IS NULL
        OR NOT (CASE WHEN EXISTS (SELECT FROM vault.second_factor f WHERE f.subject_id = s.actor) THEN vault.second_fresh(s)
                     ELSE c.changed_at > clock_timestamp() - interval '14 days' END)
        OR coalesce(shown_step NOT BETWEEN vault.second_step() - 2 AND vault.second_step() + 1, true)
        OR NOT EXISTS (SELECT FROM vault.audit a JOIN vault.field f ON f.dataset = a.dataset AND f.name = 'second_factor'
            WHERE a.subject = s.actor AND a.operation = 5 AND a.granted AND a.xact = pg_current_xact_id() AND (a.fields >> (f.ordinal - 1)) & 1 = 1) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    INSERT INTO vault.second_factor (subject_id, check_hash, last_step) VALUES (s.actor, new_check, shown_step)
        ON CONFLICT (subject_id) DO UPDATE SET check_hash = excluded.check_hash, last_step = excluded.last_step, failures = 0, open_tries = 0, enrolled_at = clock_timestamp();
    PERFORM vault.second_codes_of(s.actor, code_hashes);
    UPDATE vault.session x SET revoked_at = clock_timestamp() WHERE x.actor = s.actor AND x.kind = 'session' AND x.revoked_at IS NULL;
    s := vault.second_open(s, new_secret, ttl_seconds);
    PERFORM vault.note(s, vault.policy_in_force(), 40::smallint, true, s.actor, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
EXCEPTION WHEN not_null_violation OR check_violation THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the factor is not of the declared shape';
END $$;

-- Ten recovery codes in the place of all earlier ones. Internal.
CREATE OR REPLACE FUNCTION vault.second_codes_of(whom uuid, code_hashes bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF (SELECT count(DISTINCT h) FROM unnest(code_hashes) h) <> 10 THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'ten different codes are needed'; END IF;
    DELETE FROM vault.recovery_code r WHERE r.subject_id = whom;
    INSERT INTO vault.recovery_code (code_hash, subject_id) SELECT h, whom FROM unnest(code_hashes) h;
END $$;

-- New recovery codes for oneself, with the factor proven in the last ten minutes.
CREATE OR REPLACE FUNCTION vault.second_codes(secret bytea, code_hashes bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.staff_session(secret);
BEGIN
    PERFORM FROM vault.second_factor x WHERE x.subject_id = s.actor FOR UPDATE;
    s := vault.staff_session(secret);
    IF NOT vault.second_fresh(s) THEN RAISE EXCEPTION USING ERRCODE = 'AR401', MESSAGE = 'prove the second factor again'; END IF;
    PERFORM vault.second_codes_of(s.actor, code_hashes);
    PERFORM vault.note(s, vault.policy_in_force(), 40::smallint, true, s.actor, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
END $$;
