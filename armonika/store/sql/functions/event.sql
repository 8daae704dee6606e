-- The event from which a record is kept: the account was closed, the application decided, the last letter exchanged. Set when it happens, by the
-- clock of the database: nobody can say a time, so nobody can make a record end before its period. AR422 where the period begins with the recording.
CREATE OR REPLACE FUNCTION vault.event(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid, which uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE r vault.record; d vault.declared_retention; n bigint;
BEGIN
    SELECT * INTO r FROM vault.event_record(secret, for_purpose, for_reason, ref, whom, which);
    SELECT * INTO d FROM vault.declared_retention x WHERE x.policy_id = vault.policy_in_force() AND x.dataset = r.dataset;
    IF d.starts IS NULL OR d.starts = 'recording' THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the period of this dataset begins with the recording';
    END IF;
    n := vault.note(vault.actor(secret), vault.policy_in_force(), 30::smallint, true, whom, which, r.dataset, 0, for_purpose, for_reason, ref);
    -- It only ever moves forward, and a clock that went back dates nothing back.
    INSERT INTO vault.retention AS t (subject_id, record_id, dataset, began_at, audit_id)
        SELECT whom, which, r.dataset, greatest(clock_timestamp(), r.created_at, st.ran_at), n FROM vault.retention_state st
        ON CONFLICT (subject_id, record_id) DO UPDATE SET began_at = greatest(t.began_at, excluded.began_at), audit_id = excluded.audit_id;
    RETURN n;
END $$;

-- The event did not last: the account was opened again, the case goes on. The period does not run until it happens anew.
CREATE OR REPLACE FUNCTION vault.withdraw_event(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid, which uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE r vault.record;
BEGIN
    SELECT * INTO r FROM vault.event_record(secret, for_purpose, for_reason, ref, whom, which);
    IF NOT EXISTS (SELECT FROM vault.declared_retention x WHERE x.policy_id = vault.policy_in_force() AND x.dataset = r.dataset AND x.starts = 'event') THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the period of this dataset cannot be stopped';
    END IF;
    DELETE FROM vault.retention x WHERE x.subject_id = whom AND x.record_id = which;
    RETURN vault.note(vault.actor(secret), vault.policy_in_force(), 31::smallint, true, whom, which, r.dataset, 0, for_purpose, for_reason, ref);
END $$;

-- The record, held together with its person, when the policy lets this actor tell its events; AR403 otherwise. Internal.
CREATE OR REPLACE FUNCTION vault.event_record(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid, which uuid) RETURNS vault.record
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    r vault.record; j vault.subject;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    SELECT * INTO j FROM vault.subject x WHERE x.subject_id = whom FOR SHARE;
    SELECT * INTO r FROM vault.record x WHERE x.subject_id = whom AND x.record_id = which FOR SHARE;
    IF r.record_id IS NULL OR j.state = 'erased' OR NOT vault.allowed(pol, s, 30::smallint, for_purpose, r.dataset, 0, whom, j.org_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    IF j.state = 'restricted' AND NOT EXISTS (SELECT FROM vault.declared_purpose q WHERE q.policy_id = pol AND q.purpose = for_purpose AND q.while_restricted) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR423', MESSAGE = 'processing of this person is restricted';
    END IF;
    RETURN r;
END $$;

-- Tells a restored copy what the entries that it got back say, from leaf `first` on: events, ended appointments and tokens, locks, and the time that they
-- prove. An entry says that something changed, not to what, so the copy takes the narrower way: who was locked or unlocked is locked; whose credential or
-- factor changed has no password that opens (a letter or the operator's reset gives a new one); whose second factor was used has no recovery code left; who
-- set a factor up has one that nobody can prove, neither with the old value nor by enrolling another, until the operator's `staff reset`.
-- Sessions and letters' tokens of a copy that lost something end: what was signed out or used up in what it lost must not come back. Called in the
-- transaction that put the entries back: an entry that the copy had not lost had its effect there. For the administrator. By the indexes, whatever the server
-- knows of the tables: each page of a restore was planned to look at the whole log.
CREATE OR REPLACE FUNCTION vault.replay_events(first bigint) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE a record; told int := 0; numbers bigint[] := ARRAY(SELECT l.audit_id FROM vault.leaf l WHERE l.leaf_no >= first ORDER BY l.leaf_no);
BEGIN
    FOR a IN SELECT x.* FROM vault.audit x LEFT JOIN vault.record r ON r.subject_id = x.subject AND r.record_id = x.record
             WHERE x.audit_id = ANY (numbers) AND x.granted AND (x.operation IN (30, 31) AND r.record_id IS NOT NULL
                 OR x.xact = pg_current_xact_id() AND x.subject IS NOT NULL AND (x.operation IN (7, 11, 12, 40, 42)
                     OR x.operation = 5 AND EXISTS (SELECT FROM vault.field f WHERE f.dataset = x.dataset AND f.name = 'second_factor' AND (x.fields >> (f.ordinal - 1)) & 1 = 1)))
             ORDER BY x.audit_id LOOP
        IF a.operation = 12 THEN
            UPDATE vault.session x SET revoked_at = coalesce(x.revoked_at, clock_timestamp()) WHERE x.actor = a.subject AND x.kind = 'token';
        -- The worker's entry is a letter that was sent: it changed nothing, and anybody may ask for one.
        ELSIF a.operation = 11 AND a.door = 'worker' THEN
            CONTINUE;
        ELSIF a.operation = 11 OR a.operation = 40 AND a.door = 'administrator' THEN
            UPDATE vault.credential c SET check_hash = sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())) WHERE c.subject_id = a.subject;
            IF a.operation = 40 THEN DELETE FROM vault.second_factor f WHERE f.subject_id = a.subject; END IF;
        ELSIF a.operation = 40 THEN
            DELETE FROM vault.recovery_code c WHERE c.subject_id = a.subject;
        ELSIF NOT EXISTS (SELECT FROM vault.subject j WHERE j.subject_id = a.subject) THEN
            CONTINUE;
        ELSIF a.operation = 5 THEN
            -- A factor is set up by a correction of the record that holds its value (vault.second_enrol).
            INSERT INTO vault.second_factor (subject_id, check_hash, last_step)
                SELECT c.subject_id, sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), vault.second_step() FROM vault.credential c WHERE c.subject_id = a.subject
                ON CONFLICT (subject_id) DO UPDATE SET check_hash = excluded.check_hash;
            DELETE FROM vault.recovery_code c WHERE c.subject_id = a.subject;
        ELSIF a.operation = 42 THEN
            PERFORM vault.end_sign_in(a.subject);
            INSERT INTO vault.staff_end (subject_id, audit_id) VALUES (a.subject, a.audit_id) ON CONFLICT DO NOTHING;
        ELSIF a.operation = 7 THEN
            UPDATE vault.subject x SET state = 'restricted' WHERE x.subject_id = a.subject AND x.state = 'active';
        ELSIF a.operation = 31 THEN
            DELETE FROM vault.retention x WHERE x.subject_id = a.subject AND x.record_id = a.record;
        ELSE
            INSERT INTO vault.retention AS t (subject_id, record_id, dataset, began_at, audit_id) VALUES (a.subject, a.record, a.dataset, a.at, a.audit_id)
                ON CONFLICT (subject_id, record_id) DO UPDATE SET began_at = greatest(t.began_at, excluded.began_at), audit_id = excluded.audit_id;
        END IF;
        told := told + 1;
    END LOOP;
    IF EXISTS (SELECT FROM vault.audit x WHERE x.audit_id = ANY (numbers) AND x.xact = pg_current_xact_id()) THEN
        UPDATE vault.session x SET revoked_at = clock_timestamp() WHERE x.kind = 'session' AND x.revoked_at IS NULL;
        UPDATE vault.challenge x SET used_at = clock_timestamp() WHERE x.used_at IS NULL;
    END IF;
    UPDATE vault.retention_state SET ran_at = greatest(ran_at, (SELECT max(x.at) FROM vault.audit x WHERE x.audit_id = ANY (numbers)));
    RETURN told;
END $$;

-- What the law locks (Law 09-04 art. 11, the books of ten years) leaves for no door and no function before its own period has ended; the event of what
-- leaves goes with it. The administrator may, who replays the register in a restored copy: it ended by its period there. And who was erased before the law
-- began to lock stays erased: a lock cannot stop the sweep, which would never come past them to the next.
CREATE OR REPLACE FUNCTION vault.kept_by_law() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF vault.door() <> 'administrator' AND EXISTS (
        SELECT FROM gone g JOIN vault.declared_retention d ON d.policy_id = vault.policy_in_force() AND d.dataset = g.dataset AND d.locked
        LEFT JOIN vault.retention e ON e.subject_id = g.subject_id AND e.record_id = g.record_id
        WHERE (vault.period_began(d.starts, g.created_at, e.began_at) < vault.cutoff(d.zone, d.days, clock_timestamp())) IS NOT TRUE
          AND NOT EXISTS (SELECT FROM vault.erasing w WHERE w.subject_id = g.subject_id)) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'the law keeps this record until its period has ended';
    END IF;
    DELETE FROM vault.retention e USING gone g WHERE e.subject_id = g.subject_id AND e.record_id = g.record_id;
    RETURN NULL;
END $$;
