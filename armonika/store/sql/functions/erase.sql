-- Erase people: destroy the wrapped keys of every record that the policy lets this actor erase, the records, look-ups, credentials, challenges and
-- sessions, and leave a tombstone when nothing remains. What the policy keeps (a legal lock) stays, and the person is then restricted. Whose account stays (a token
-- bound to other compartments, a role for other datasets) stays signed in, and is restricted no more than before: only those records ended.
-- Somebody of whom nothing is kept and who has many records is erased at once, and the keys are destroyed in pages by the keeper (`vault.sweep`): how
-- long an erasure takes does not depend on how much there is. Between the two nothing reads them: every function knows the erased.
-- Only who may be erased by this actor is locked: nobody else waits for a transaction that is held open. Claim 8a.3, Law 18-07 art. 35, NIST SP 800-88 (cryptographic erase).
CREATE OR REPLACE FUNCTION vault.erase(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid[])
RETURNS TABLE (subject uuid, audit_id bigint, erased int, kept int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    j vault.subject; n bigint; gone int; left_over int; erasable smallint[]; stays boolean;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    PERFORM vault.check_fresh(s);
    FOR j IN SELECT x.* FROM vault.subject x WHERE x.subject_id = ANY (whom) AND x.state <> 'erased' AND EXISTS (
                 SELECT FROM vault.rule r WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = for_purpose AND r.operation = 6
                   AND vault.in_scope(s, 6::smallint, for_purpose, r.dataset)
                   AND CASE r.scope WHEN 'all' THEN true WHEN 'own' THEN x.subject_id = s.actor ELSE s.org_id IS NOT NULL AND x.org_id = s.org_id END)
             ORDER BY x.subject_id FOR UPDATE LOOP
        -- What the policy says is said of a dataset: asked once for each, not once a record.
        SELECT array_agg(d.dataset) FILTER (WHERE d.may), coalesce(sum(d.records) FILTER (WHERE d.may), 0), coalesce(sum(d.records) FILTER (WHERE NOT d.may), 0)
        INTO erasable, gone, left_over
        FROM (SELECT x.dataset, x.records, vault.allowed(pol, s, 6::smallint, for_purpose, x.dataset, 0, j.subject_id, j.org_id) AS may
              FROM (SELECT r.dataset, count(*) AS records FROM vault.record r WHERE r.subject_id = j.subject_id GROUP BY r.dataset) x) d;
        IF gone = 0 AND left_over > 0 THEN CONTINUE; END IF;
        n := vault.note(s, pol, 6::smallint, true, j.subject_id, NULL, NULL, 0, for_purpose, for_reason, ref);
        IF gone <= 32 OR left_over > 0 OR EXISTS (SELECT FROM vault.declared_retention d WHERE d.policy_id = pol AND d.dataset = ANY (erasable) AND d.locked) THEN
            PERFORM vault.end_records(n, j.subject_id, ARRAY(SELECT r.record_id FROM vault.record r WHERE r.subject_id = j.subject_id AND r.dataset = ANY (erasable)));
        ELSE
            -- Addresses are free again at once, whoever destroys the rest.
            DELETE FROM vault.lookup l WHERE l.subject_id = j.subject_id;
            INSERT INTO vault.erasing (subject_id, audit_id) VALUES (j.subject_id, n);
        END IF;
        INSERT INTO vault.ended (subject_id, audit_id, records, kept) VALUES (j.subject_id, n, gone, left_over);
        stays := left_over > 0 AND vault.has_account(j.subject_id);
        IF NOT stays THEN
            PERFORM vault.end_sign_in(j.subject_id);
            UPDATE vault.subject x SET state = CASE WHEN left_over = 0 THEN 'erased' ELSE 'restricted' END, org_id = CASE WHEN left_over = 0 THEN NULL ELSE x.org_id END
                WHERE x.subject_id = j.subject_id;
        END IF;
        IF left_over = 0 THEN INSERT INTO vault.tombstone (subject_id, audit_id, records) VALUES (j.subject_id, n, gone); END IF;
        subject := j.subject_id; audit_id := n; erased := gone; kept := left_over;
        RETURN NEXT;
    END LOOP;
END $$;

-- A member ends something only with a sign-in of the last ten minutes, staff with a second factor proven in them; or AR401. Internal.
CREATE OR REPLACE FUNCTION vault.check_fresh(s vault.session) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF s.kind = 'session' AND coalesce(s.second_at, s.auth_at) NOT BETWEEN clock_timestamp() - interval '10 minutes' AND clock_timestamp() + interval '5 seconds' THEN
        RAISE EXCEPTION USING ERRCODE = 'AR401', MESSAGE = 'sign in again to erase';
    END IF;
END $$;

-- Whether there is something left that this person signs in by: an address that is one person's alone. Internal.
CREATE OR REPLACE FUNCTION vault.has_account(whom uuid) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT EXISTS (SELECT FROM vault.lookup l WHERE l.subject_id = whom AND l.sole)
$$;

-- Destroys at most so many records of one person who is erased already. Returns how many; 0 when nobody waits for it. Two at once take two people.
CREATE OR REPLACE FUNCTION vault.sweep(service bytea, most int) RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    s vault.session := vault.actor(service);
    e vault.erasing; gone int;
BEGIN
    IF s.kind <> 'service' THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    SELECT x.* INTO e FROM vault.erasing x JOIN vault.subject j ON j.subject_id = x.subject_id AND j.state = 'erased'
        ORDER BY x.since, x.subject_id LIMIT 1 FOR UPDATE OF x SKIP LOCKED;
    IF NOT FOUND THEN RETURN 0; END IF;
    gone := vault.end_records(e.audit_id, e.subject_id, ARRAY(SELECT r.record_id FROM vault.record r WHERE r.subject_id = e.subject_id
        ORDER BY r.record_id LIMIT least(greatest(most, 1), 1000)));
    IF NOT EXISTS (SELECT FROM vault.record r WHERE r.subject_id = e.subject_id) THEN DELETE FROM vault.erasing x WHERE x.subject_id = e.subject_id; END IF;
    RETURN gone;
END $$;

-- Nobody signs in as this person any more, and no letter's token works. Internal.
CREATE OR REPLACE FUNCTION vault.end_sign_in(whom uuid) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    DELETE FROM vault.credential x WHERE x.subject_id = whom;
    DELETE FROM vault.challenge x WHERE x.subject_id = whom;
    DELETE FROM vault.session x WHERE x.actor = whom AND x.kind <> 'service';
$$;

-- Destroys records with their keys and look-ups, and keeps what a certificate and a restore need. Internal.
CREATE OR REPLACE FUNCTION vault.end_records(entry bigint, whom uuid, which uuid[]) RETURNS int
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE gone int;
BEGIN
    -- Everybody locks the record before its key and its look-ups, and several in the order of their ids: so no two wait for each other.
    PERFORM FROM vault.record r WHERE r.subject_id = whom AND r.record_id = ANY (which) ORDER BY r.record_id FOR UPDATE;
    INSERT INTO vault.ended (subject_id, record_id, compartment, epoch, audit_id)
        SELECT k.subject_id, k.record_id, k.compartment, k.epoch, entry FROM vault.data_key k WHERE k.subject_id = whom AND k.record_id = ANY (which)
        ORDER BY k.record_id FOR UPDATE;
    DELETE FROM vault.record r WHERE r.subject_id = whom AND r.record_id = ANY (which);
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END $$;

-- Ends single records of people who stay (an address of day 366, a test of day 91), for whoever the policy lets erase the dataset. One entry each. With the
-- record that somebody signs in by goes the sign-in.
CREATE OR REPLACE FUNCTION vault.erase_records(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid[], which uuid[])
RETURNS TABLE (record uuid, audit_id bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    r record; n bigint;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    PERFORM vault.check_fresh(s);
    -- The person before the record, as everybody takes them.
    PERFORM FROM vault.subject j WHERE j.subject_id = ANY (whom) AND EXISTS (
        SELECT FROM unnest(whom, which) AS i (subject, record) JOIN vault.record x ON x.subject_id = i.subject AND x.record_id = i.record
        WHERE i.subject = j.subject_id AND vault.allowed(pol, s, 6::smallint, for_purpose, x.dataset, 0, x.subject_id, j.org_id)) ORDER BY j.subject_id FOR UPDATE;
    FOR r IN SELECT x.subject_id, x.record_id, x.dataset, EXISTS (
                 SELECT FROM vault.lookup l WHERE l.subject_id = x.subject_id AND l.record_id = x.record_id AND l.sole) AS account
             FROM unnest(whom, which) AS i (subject, record)
             JOIN vault.record x ON x.subject_id = i.subject AND x.record_id = i.record JOIN vault.subject j ON j.subject_id = x.subject_id
             WHERE j.state <> 'erased' AND vault.allowed(pol, s, 6::smallint, for_purpose, x.dataset, 0, x.subject_id, j.org_id) ORDER BY x.subject_id, x.record_id FOR UPDATE OF x LOOP
        n := vault.note(s, pol, 6::smallint, true, r.subject_id, r.record_id, r.dataset, 0, for_purpose, for_reason, ref);
        PERFORM vault.end_records(n, r.subject_id, ARRAY[r.record_id]);
        IF r.account AND NOT vault.has_account(r.subject_id) THEN PERFORM vault.end_sign_in(r.subject_id); END IF;
        record := r.record_id; audit_id := n;
        RETURN NEXT;
    END LOOP;
END $$;

-- Lock or unlock the processing of one person (claim 8a.5; verrouillage, Law 18-07 art. 35).
CREATE OR REPLACE FUNCTION vault.restrict(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid, lock boolean) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    j vault.subject;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    SELECT * INTO j FROM vault.subject x WHERE x.subject_id = whom FOR UPDATE;
    IF j.subject_id IS NULL OR j.state = 'erased' OR lock IS NULL OR NOT EXISTS (
        SELECT FROM vault.rule r WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = for_purpose AND r.operation = 7 AND vault.in_scope(s, 7::smallint, for_purpose, r.dataset)
          AND CASE r.scope WHEN 'all' THEN true WHEN 'own' THEN j.subject_id = s.actor ELSE s.org_id IS NOT NULL AND j.org_id = s.org_id END) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    UPDATE vault.subject x SET state = CASE WHEN lock THEN 'restricted' ELSE 'active' END WHERE x.subject_id = whom;
    RETURN vault.note(s, pol, 7::smallint, true, whom, NULL, NULL, 0, for_purpose, for_reason, ref);
END $$;

-- A refused write left nothing; this keeps the fact that it was tried. Says nothing about whether the person exists.
CREATE OR REPLACE FUNCTION vault.note_refusal(secret bytea, what smallint, for_purpose smallint, for_reason smallint, whom uuid, of_dataset smallint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(secret);
BEGIN
    IF NOT EXISTS (SELECT FROM vault.operation o WHERE o.id = what) THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'no such operation'; END IF;
    RETURN vault.note(s, vault.policy_in_force(), what, false, whom, NULL, of_dataset, 0, coalesce(for_purpose, 0::smallint), coalesce(for_reason, 0::smallint), NULL);
END $$;
