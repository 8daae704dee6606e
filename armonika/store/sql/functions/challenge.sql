-- Tokens sent in letters. Only their SHA-256 is kept; each works once, before its end. Issuing one voids the person's earlier ones of its kind.
CREATE OR REPLACE FUNCTION vault.issue_challenge(service bytea, whom uuid, new_kind text, new_token bytea, ttl_seconds int) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(service);
BEGIN
    -- Whoever is being erased at this moment is waited for: no token comes in behind.
    PERFORM FROM vault.subject j WHERE j.subject_id = whom FOR SHARE;
    IF s.kind <> 'service' OR NOT EXISTS (SELECT FROM vault.credential c WHERE c.subject_id = whom) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    UPDATE vault.challenge x SET used_at = clock_timestamp() WHERE x.subject_id = whom AND x.kind = new_kind AND x.used_at IS NULL;
    INSERT INTO vault.challenge (token_hash, subject_id, kind, expires_at)
        VALUES (new_token, whom, new_kind, clock_timestamp() + make_interval(secs => least(greatest(ttl_seconds, 60), 604800)));
    PERFORM vault.note(s, vault.policy_in_force(), 11::smallint, true, whom, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
END $$;

-- verify-address: the address is confirmed. reset-password: a new credential, every session ended; the letter proves the address too. Of staff no letter
-- confirms an appointment: that is the administrator's (vault.staff_appoint).
CREATE OR REPLACE FUNCTION vault.redeem_challenge(service bytea, token bytea, asked_kind text, new_salt bytea, new_parameters text, new_check bytea) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(service); whom uuid;
BEGIN
    IF s.kind <> 'service' THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    -- The person first, as an erasure does, or the two wait for each other.
    PERFORM FROM vault.subject j WHERE j.subject_id = (SELECT x.subject_id FROM vault.challenge x WHERE x.token_hash = token) FOR SHARE;
    UPDATE vault.challenge x SET used_at = clock_timestamp()
        WHERE x.token_hash = token AND x.kind = asked_kind AND x.used_at IS NULL AND x.expires_at > clock_timestamp()
          AND x.created_at <= clock_timestamp() + interval '5 seconds'
        RETURNING x.subject_id INTO whom;
    IF whom IS NULL THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    IF asked_kind = 'reset-password' THEN
        UPDATE vault.credential c SET salt = new_salt, parameters = new_parameters, check_hash = new_check, changed_at = clock_timestamp(),
            verified_at = coalesce(c.verified_at, CASE WHEN NOT vault.is_staff(c.role) THEN clock_timestamp() END) WHERE c.subject_id = whom;
        UPDATE vault.session x SET revoked_at = clock_timestamp() WHERE x.actor = whom AND x.kind = 'session' AND x.revoked_at IS NULL;
    ELSE
        UPDATE vault.credential c SET verified_at = coalesce(c.verified_at, clock_timestamp()) WHERE c.subject_id = whom AND NOT vault.is_staff(c.role);
    END IF;
    PERFORM vault.note(s, vault.policy_in_force(), 11::smallint, true, whom, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
    RETURN whom;
EXCEPTION WHEN not_null_violation OR check_violation THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the credential is not of the declared shape';
END $$;

-- GCRA in one statement (libraries: rate limits). Returns 0 when allowed, otherwise the seconds to wait. Keys are keyed hashes, made by the door.
CREATE OR REPLACE FUNCTION vault.throttle(what bytea, per_minute double precision, burst int) RETURNS double precision
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    every interval := make_interval(secs => 60.0 / greatest(per_minute, 0.001));
    slack interval := make_interval(secs => 60.0 / greatest(per_minute, 0.001) * greatest(burst - 1, 0));
    here timestamptz := clock_timestamp();
    next_tat timestamptz;
BEGIN
    INSERT INTO vault.throttle AS t (key, tat) VALUES (what, here + every)
    ON CONFLICT (key) DO UPDATE SET tat = greatest(t.tat, here) + every WHERE t.tat <= here + slack OR t.tat > here + slack + every * 2
    RETURNING t.tat INTO next_tat;
    IF next_tat IS NOT NULL THEN RETURN 0; END IF;
    RETURN (SELECT greatest(0.001, extract(epoch FROM t.tat - slack - here)) FROM vault.throttle t WHERE t.key = what);
END $$;

-- A job for the worker, in the caller's transaction: a task name with a language, and the person's pseudonym. Internal.
CREATE OR REPLACE FUNCTION vault.defer(job text, whom uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF job !~ '^[a-z-]{3,40}:(en|fr|ar)$' THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'no such job'; END IF;
    INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        VALUES ('letters', split_part(job, ':', 1), 0, NULL, NULL, jsonb_build_object('subject', whom, 'language', split_part(job, ':', 2)), NULL);
END $$;

CREATE OR REPLACE FUNCTION vault.enqueue(service bytea, job text, whom uuid) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(service);
BEGIN
    IF s.kind <> 'service' THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    PERFORM vault.defer(job, whom);
END $$;

-- A letter to whoever a look-up value belongs to, without telling the caller whether there is such a person (password reset, "address already registered").
CREATE OR REPLACE FUNCTION vault.enqueue_to(service bytea, job text, of_dataset smallint, of_ordinal smallint, epochs int[], digests bytea[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(service); whom uuid;
BEGIN
    IF s.kind <> 'service' OR job !~ '^[a-z-]{3,40}:(en|fr|ar)$' THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    PERFORM vault.check_search(of_dataset, epochs);
    -- Each digest by itself (OFFSET 0), as in vault.ask_find.
    SELECT h.subject_id INTO whom FROM unnest(epochs, digests) AS d (epoch, digest) CROSS JOIN LATERAL (
        SELECT l.subject_id FROM vault.lookup l
        WHERE l.dataset = of_dataset AND l.ordinal = of_ordinal AND l.epoch = d.epoch AND l.digest = d.digest AND l.sole OFFSET 0) h LIMIT 1;
    IF whom IS NOT NULL THEN PERFORM vault.defer(job, whom); END IF;
END $$;
