-- The end of what has expired (claim 6a.6). The database decides what is due: from its own clock, the class that the policy in force gives the
-- dataset, and the event of the record. The arithmetic is that of armonika/rules/retention.py.

-- What began before this moment has ended: the day of the beginning is day 0, the last day is kept whole, and the end comes with the day after it.
CREATE OR REPLACE FUNCTION vault.cutoff(zone text, days int, here timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT ((here AT TIME ZONE zone)::date - days)::timestamp AT TIME ZONE zone
$$;

-- When a period began; NULL: it does not run yet. The latest event never counts before the recording.
CREATE OR REPLACE FUNCTION vault.period_began(starts text, created_at timestamptz, event_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT CASE starts WHEN 'recording' THEN created_at WHEN 'event' THEN event_at ELSE greatest(created_at, event_at) END
$$;

-- At most `most` records of each dataset that may end at `here`, those that have waited longest first.
CREATE OR REPLACE FUNCTION vault.due(policy int, here timestamptz, most int) RETURNS TABLE (subject uuid, record uuid)
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT x.subject_id, x.record_id FROM (SELECT d.*, vault.cutoff(d.zone, d.days, here) AS bound FROM vault.declared_retention d WHERE d.policy_id = policy) c
    CROSS JOIN LATERAL (
        (SELECT r.subject_id, r.record_id FROM vault.record r WHERE c.starts <> 'event' AND r.dataset::int = c.dataset::int AND r.created_at < c.bound
            AND (c.starts = 'recording' OR NOT EXISTS (
                SELECT FROM vault.retention e WHERE e.subject_id = r.subject_id AND e.record_id = r.record_id AND e.began_at >= c.bound))
            ORDER BY r.created_at LIMIT most)
        UNION ALL
        (SELECT e.subject_id, e.record_id FROM vault.retention e WHERE c.starts = 'event' AND e.dataset = c.dataset AND e.began_at < c.bound
            ORDER BY e.began_at LIMIT most)
    ) x
$$;

-- The entry and the register line of a person of whom nothing is left, and the tombstone. The caller holds the person. Internal.
CREATE OR REPLACE FUNCTION vault.end_person(entry bigint, whom uuid, gone int) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    INSERT INTO vault.ended (subject_id, audit_id) VALUES (whom, entry);
    PERFORM vault.end_sign_in(whom);
    UPDATE vault.subject x SET state = 'erased', org_id = NULL WHERE x.subject_id = whom;
    INSERT INTO vault.tombstone (subject_id, audit_id, records) VALUES (whom, entry, gone);
END $$;

-- Raises unless the job may trust the clock: behind the newest entry or the job's own last time it went back (AR425); a week ahead of that time it
-- may have jumped, and somebody must confirm it (AR426). Nothing is ended by a wrong clock that shows.
CREATE OR REPLACE FUNCTION vault.check_clock(ran_at timestamptz, here timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF greatest(ran_at, (SELECT a.at FROM vault.audit a ORDER BY a.audit_id DESC LIMIT 1)) > here + interval '5 seconds' THEN
        RAISE EXCEPTION USING ERRCODE = 'AR425', MESSAGE = 'the clock is behind the newest entry of the log';
    END IF;
    IF here > ran_at + interval '7 days' THEN
        RAISE EXCEPTION USING ERRCODE = 'AR426', MESSAGE = 'the clock is far ahead of the last run';
    END IF;
END $$;

-- Who may run the job: its own service actor at its own door, in a transaction that sees what is committed (an older view could miss an event).
CREATE OR REPLACE FUNCTION vault.retention_actor(service bytea) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session := vault.actor(service);
BEGIN
    IF s.kind <> 'service' OR vault.door() <> 'retention' OR current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    RETURN s;
END $$;

-- Ends one page of what is due. One entry, register line and destroyed key a record; who has no record left gets a tombstone, who cannot be found by
-- any look-up any more loses the sign-in. Two at once take turns. What somebody else holds at this moment is left for the next page.
CREATE OR REPLACE FUNCTION vault.expire(service bytea, most int) RETURNS TABLE (subject uuid, record uuid, audit_id bigint)
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.retention_actor(service);
    st vault.retention_state;
    here timestamptz;
    legal smallint := (SELECT p.id FROM vault.purpose p WHERE p.name = 'legal');
    why smallint := (SELECT r.id FROM vault.reason r WHERE r.name = 'retention');
    whom uuid[]; which uuid[]; held uuid[]; r record; n bigint;
BEGIN
    PERFORM vault.check_reason(pol, legal, why, NULL);
    SELECT * INTO st FROM vault.retention_state FOR UPDATE;
    here := clock_timestamp();
    PERFORM vault.check_clock(st.ran_at, here);
    SELECT array_agg(d.subject), array_agg(d.record) INTO whom, which FROM vault.due(pol, here, least(most, 5000)) d;
    held := ARRAY(SELECT j.subject_id FROM vault.subject j WHERE j.subject_id = ANY (whom) AND j.state <> 'erased' ORDER BY j.subject_id FOR UPDATE SKIP LOCKED);
    -- The erased are the keeper's (`vault.sweep`). Looked at again while the people are held: an event that came meanwhile is seen, and none can come any more.
    FOR r IN SELECT x.subject_id, x.record_id, x.dataset FROM unnest(whom, which) AS i (subject, record)
             JOIN vault.record x ON x.subject_id = i.subject AND x.record_id = i.record
             JOIN vault.declared_retention d ON d.policy_id = pol AND d.dataset = x.dataset
             LEFT JOIN vault.retention e ON e.subject_id = x.subject_id AND e.record_id = x.record_id
             WHERE x.subject_id = ANY (held)
               AND vault.period_began(d.starts, x.created_at, e.began_at) < vault.cutoff(d.zone, d.days, here)
               AND vault.allowed(pol, s, 6::smallint, legal, x.dataset, 0, x.subject_id, NULL)
             ORDER BY x.subject_id, x.record_id FOR UPDATE OF x LOOP
        n := vault.note(s, pol, 6::smallint, true, r.subject_id, r.record_id, r.dataset, 0, legal, why, NULL);
        PERFORM vault.end_records(n, r.subject_id, ARRAY[r.record_id]);
        subject := r.subject_id; record := r.record_id; audit_id := n;
        RETURN NEXT;
    END LOOP;
    FOR r IN SELECT j.subject_id, x.entry, x.gone,
                 EXISTS (SELECT FROM vault.record y WHERE y.subject_id = j.subject_id) AS stays,
                 EXISTS (SELECT FROM vault.lookup l WHERE l.subject_id = j.subject_id AND l.sole) AS found
             FROM vault.subject j CROSS JOIN LATERAL (
                 SELECT max(e.audit_id) AS entry, count(*)::int AS gone FROM vault.ended e WHERE e.subject_id = j.subject_id AND e.record_id IS NOT NULL) x
             WHERE j.subject_id = ANY (held) AND j.state <> 'erased' AND x.entry IS NOT NULL LOOP
        IF NOT r.stays THEN
            PERFORM vault.end_person(r.entry, r.subject_id, r.gone);
        ELSIF NOT r.found THEN
            PERFORM vault.end_sign_in(r.subject_id);
        END IF;
    END LOOP;
    UPDATE vault.retention_state SET ran_at = greatest(ran_at, here);
END $$;

-- A tombstone for people whose last record ended alone, an hour ago or more: another may follow at once. Returns how many. What is settled is told by
-- transactions, as a line has its number and its time long before it is seen: lines from the oldest open transaction on are looked at again by the next
-- run, so that one that stays open for hours stops nobody and nobody is passed over. Who is held by somebody is left for the next run too. By the
-- indexes, whatever the server knows of the tables.
CREATE OR REPLACE FUNCTION vault.end_empty(service bytea, most int) RETURNS int
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.retention_actor(service);
    st vault.retention_state; j vault.subject; n bigint; done int := 0;
    settled xid8 := pg_snapshot_xmin(pg_current_snapshot());
    since xid8; waiting xid8; whom uuid[];
    legal smallint := (SELECT p.id FROM vault.purpose p WHERE p.name = 'legal');
    why smallint := (SELECT r.id FROM vault.reason r WHERE r.name = 'retention');
BEGIN
    PERFORM vault.check_reason(pol, legal, why, NULL);
    SELECT * INTO st FROM vault.retention_state FOR UPDATE;
    PERFORM vault.check_clock(st.ran_at, clock_timestamp());
    -- In a database that was moved to another server by its content, transactions count anew.
    since := least(st.swept_xact, settled);
    whom := ARRAY(SELECT DISTINCT e.subject_id FROM vault.ended e WHERE e.record_id IS NOT NULL AND e.xact >= since AND e.at < clock_timestamp() - interval '1 hour');
    FOR j IN SELECT x.* FROM vault.subject x WHERE x.state <> 'erased' AND x.subject_id = ANY (whom)
             AND NOT EXISTS (SELECT FROM vault.record r WHERE r.subject_id = x.subject_id)
             ORDER BY x.subject_id LIMIT least(most, 10000) FOR UPDATE SKIP LOCKED LOOP
        IF NOT EXISTS (SELECT FROM vault.record r WHERE r.subject_id = j.subject_id) THEN
            n := vault.note(s, pol, 6::smallint, true, j.subject_id, NULL, NULL, 0, legal, why, NULL);
            PERFORM vault.end_person(n, j.subject_id, 0);
            done := done + 1;
        END IF;
    END LOOP;
    SELECT e.xact INTO waiting FROM vault.ended e JOIN vault.subject x ON x.subject_id = e.subject_id AND x.state <> 'erased'
        WHERE e.record_id IS NOT NULL AND e.xact >= since AND NOT EXISTS (SELECT FROM vault.record r WHERE r.subject_id = e.subject_id)
        ORDER BY e.xact LIMIT 1;
    UPDATE vault.retention_state SET swept_xact = least(settled, waiting);
    RETURN done;
END $$;

-- What nobody collects: letters' tokens that were used or ended, sessions and tokens a day after their end, idle counts of tries, jobs that are over,
-- reports of verify older than 90 days but the newest. One page of each; returns how many rows went.
CREATE OR REPLACE FUNCTION vault.purge_stale(service bytea, most int) RETURNS TABLE (what text, gone bigint)
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    s vault.session := vault.retention_actor(service);
    st vault.retention_state; here timestamptz;
BEGIN
    SELECT * INTO st FROM vault.retention_state FOR UPDATE;
    here := clock_timestamp();
    PERFORM vault.check_clock(st.ran_at, here);
    what := 'challenges';
    DELETE FROM vault.challenge x WHERE x.token_hash IN (SELECT c.token_hash FROM vault.challenge c
        WHERE least(c.used_at, c.expires_at) < here - interval '1 day' LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT; RETURN NEXT;
    what := 'sessions';
    DELETE FROM vault.session x WHERE x.secret_hash IN (SELECT c.secret_hash FROM vault.session c
        WHERE c.kind <> 'service' AND least(c.revoked_at, c.expires_at) < here - interval '1 day' LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT; RETURN NEXT;
    what := 'throttles';
    DELETE FROM vault.throttle x WHERE x.key IN (SELECT t.key FROM vault.throttle t WHERE t.tat < here - interval '1 day' LIMIT most FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS gone = ROW_COUNT; RETURN NEXT;
    what := 'jobs';
    DELETE FROM jobs.procrastinate_jobs x WHERE x.id IN (SELECT q.id FROM jobs.procrastinate_jobs q
        WHERE q.status::text IN ('succeeded', 'failed', 'cancelled', 'aborted')
          AND NOT EXISTS (SELECT FROM jobs.procrastinate_events v WHERE v.job_id = q.id AND v.at > here - interval '7 days') LIMIT most);
    GET DIAGNOSTICS gone = ROW_COUNT; RETURN NEXT;
    what := 'reports';
    DELETE FROM vault.trust_report x WHERE x.at < here - interval '90 days' AND x.report_id < (SELECT max(t.report_id) FROM vault.trust_report t);
    GET DIAGNOSTICS gone = ROW_COUNT; RETURN NEXT;
END $$;

-- How much of each dataset has ended by its period and is still there, how much of it for more than a day, and since when the oldest could have
-- gone. A dataset whose records have no class in force has `class` NULL. Holds nothing personal. By the indexes, whatever the server knows of the tables.
CREATE OR REPLACE FUNCTION vault.retention_progress() RETURNS TABLE (dataset text, class text, days int, starts text, locked boolean, due bigint, overdue bigint, oldest timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
    WITH c AS MATERIALIZED (
        SELECT d.*, vault.cutoff(d.zone, d.days, clock_timestamp()) AS bound, vault.cutoff(d.zone, d.days, clock_timestamp() - interval '1 day') AS late
        FROM vault.declared_retention d WHERE d.policy_id = vault.policy_in_force())
    SELECT n.name, c.class, c.days, c.starts, c.locked, x.due, x.overdue,
        (((x.began AT TIME ZONE c.zone)::date + c.days + 1)::timestamp AT TIME ZONE c.zone)
    FROM c JOIN vault.dataset n ON n.id = c.dataset CROSS JOIN LATERAL (
        SELECT count(*) AS due, count(*) FILTER (WHERE y.began < c.late) AS overdue, min(y.began) AS began FROM (
            SELECT greatest(r.created_at, e.began_at) AS began FROM vault.record r
                LEFT JOIN vault.retention e ON c.starts = 'latest-event' AND e.subject_id = r.subject_id AND e.record_id = r.record_id
                WHERE c.starts <> 'event' AND r.dataset::int = c.dataset::int AND r.created_at < c.bound
            UNION ALL SELECT e.began_at FROM vault.retention e WHERE c.starts = 'event' AND e.dataset = c.dataset AND e.began_at < c.bound) y
        WHERE y.began < c.bound) x
    UNION ALL
    SELECT n.name, NULL, NULL, NULL, NULL, 0, 0, NULL FROM vault.dataset n
    WHERE NOT EXISTS (SELECT FROM c WHERE c.dataset = n.id) AND EXISTS (SELECT FROM vault.record r WHERE r.dataset::int = n.id::int)
    ORDER BY 1
$$;

-- Since when the job was last at work, and whether it trusts the clock (NULL) or why not.
CREATE OR REPLACE FUNCTION vault.retention_clock() RETURNS TABLE (ran_at timestamptz, fault text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE st vault.retention_state;
BEGIN
    SELECT * INTO st FROM vault.retention_state;
    ran_at := st.ran_at;
    BEGIN
        PERFORM vault.check_clock(st.ran_at, clock_timestamp());
    EXCEPTION WHEN SQLSTATE 'AR425' OR SQLSTATE 'AR426' THEN fault := SQLERRM;
    END;
    RETURN NEXT;
END $$;

-- Somebody looked at the clock and it is right: the job goes on from here. For the administrator.
CREATE OR REPLACE FUNCTION vault.confirm_clock() RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    UPDATE vault.retention_state SET ran_at = clock_timestamp();
    PERFORM vault.note(vault.service_of('retention'), vault.policy_in_force(), 44::smallint, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
END $$;
