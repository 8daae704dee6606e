-- What is done with the administrator's rights reaches who looks after it at once (docs/security/access.md).

-- Gives each of these entries of this transaction its row, and those who look after it a letter: one for all that is done within ten seconds. Internal.
CREATE OR REPLACE FUNCTION vault.tell_administrator(numbers bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    INSERT INTO vault.administrator_entry (audit_id, at, operation, granted, actor, role, subject, reference)
        SELECT a.audit_id, a.at, a.operation, a.granted, a.actor, a.role, a.subject, a.reference FROM vault.audit a
        WHERE a.audit_id = ANY (numbers) AND a.door = 'administrator' ON CONFLICT DO NOTHING;
    -- The first entries of an installation come before its queue.
    IF NOT FOUND OR to_regclass('jobs.procrastinate_jobs') IS NULL THEN RETURN; END IF;
    -- A look, and no lock of the queue's own: a worker that was taken over could hold that, and with it what the operator does.
    IF NOT EXISTS (SELECT FROM jobs.procrastinate_jobs q WHERE q.task_name = 'send-administrator' AND q.status::text = 'todo') THEN
        INSERT INTO jobs.procrastinate_jobs (queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
            VALUES ('letters', 'send-administrator', 0, NULL, NULL, '{}', clock_timestamp() + interval '10 seconds');
    END IF;
END $$;

-- The same for what a function wrote that makes many entries at once, with numbers beyond `since`. Internal.
CREATE OR REPLACE FUNCTION vault.tell_administrator_since(since bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    PERFORM vault.tell_administrator(ARRAY(SELECT a.audit_id FROM vault.audit a WHERE a.audit_id > since AND a.xact = pg_current_xact_id()));
END $$;

-- The living service of a door, in whose name the operator's entries are, or AR422. Internal.
CREATE OR REPLACE FUNCTION vault.service_of(which text) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session;
BEGIN
    SELECT * INTO s FROM vault.session x WHERE x.kind = 'service' AND x.door = which AND x.revoked_at IS NULL ORDER BY x.created_at DESC LIMIT 1;
    IF s.secret_hash IS NULL THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = format('the %s is not installed', which); END IF;
    RETURN s;
END $$;

-- The entry of each policy that was installed and has none yet: it says who may do what. After the services are installed, in whose name it is. For the administrator.
CREATE OR REPLACE FUNCTION vault.note_policies() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE which int; told int := 0;
BEGIN
    FOR which IN SELECT p.policy_id FROM vault.policy_version p WHERE p.entry_due AND p.policy_id > 0 AND NOT EXISTS (
            SELECT FROM vault.administrator_entry e WHERE e.operation = 13 AND e.reference = format('POLICY-%s', p.policy_id)) ORDER BY p.policy_id LOOP
        PERFORM vault.note(vault.service_of('keeper'), vault.policy_in_force(), 13::smallint, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, format('POLICY-%s', which));
        told := told + 1;
    END LOOP;
    RETURN told;
END $$;

-- The entry of a line of the keys' journal, `of_reference`; NULL when it has one. In the name of the service that it is about, of the keeper where it is about none. For
-- the administrator, who holds the table meanwhile.
CREATE OR REPLACE FUNCTION vault.note_keys(what text, about text, of_reference text) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE which smallint := (SELECT o.id FROM vault.operation o WHERE o.name = what AND o.id BETWEEN 45 AND 51); s vault.session;
BEGIN
    IF which IS NULL OR of_reference IS NULL THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'this is nothing that the journal of the keys holds'; END IF;
    IF EXISTS (SELECT FROM vault.administrator_entry e WHERE e.operation = which AND e.reference = of_reference) THEN RETURN NULL; END IF;
    s := vault.service_of(coalesce((SELECT x.door FROM vault.session x WHERE x.kind = 'service' AND x.door = about AND x.revoked_at IS NULL LIMIT 1), 'keeper'));
    RETURN vault.note(s, vault.policy_in_force(), which, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, of_reference);
END $$;

-- The rows that this person has not seen, but for those of before their account that somebody saw. Internal.
CREATE OR REPLACE FUNCTION vault.administrator_fresh(who uuid) RETURNS SETOF bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT e.audit_id FROM vault.administrator_entry e
    WHERE NOT EXISTS (SELECT FROM vault.administrator_seen x WHERE x.audit_id = e.audit_id AND x.actor = who)
      AND (e.at >= coalesce((SELECT j.created_at FROM vault.subject j WHERE j.subject_id = who), '-infinity')
           OR NOT EXISTS (SELECT FROM vault.administrator_seen x WHERE x.audit_id = e.audit_id))
$$;

-- How many rows who may review has not seen. A number, and no entry: it stands on the first page.
CREATE OR REPLACE FUNCTION vault.administrator_unseen(secret bytea, for_purpose smallint, for_reason smallint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.reviewer(secret, for_purpose, for_reason);
BEGIN
    RETURN (SELECT count(*) FROM vault.administrator_fresh(s.actor));
END $$;

-- The rows, newest first, `before` an entry number, for the ticket of vault.consult_staff. `seen_roles` and `seen_at`: who has seen each, oldest first.
CREATE OR REPLACE FUNCTION vault.administrator_entries(secret bytea, ticket bigint, most int, before bigint)
RETURNS TABLE (audit_id bigint, at timestamptz, operation text, granted boolean, actor uuid, role text, subject uuid, reference text, leaf_no bigint, fresh boolean,
    seen_roles text[], seen_at timestamptz[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.reviewing(secret, ticket);
BEGIN
    RETURN QUERY SELECT e.audit_id, e.at, o.name, e.granted, e.actor, r.name, e.subject, e.reference, l.leaf_no, e.audit_id IN (SELECT f FROM vault.administrator_fresh(s.actor) f),
        ARRAY(SELECT y.name FROM vault.administrator_seen x JOIN vault.role y ON y.id = x.role WHERE x.audit_id = e.audit_id ORDER BY x.at, x.actor),
        ARRAY(SELECT x.at FROM vault.administrator_seen x WHERE x.audit_id = e.audit_id ORDER BY x.at, x.actor)
    FROM vault.administrator_entry e JOIN vault.operation o ON o.id = e.operation LEFT JOIN vault.role r ON r.id = e.role LEFT JOIN vault.leaf l ON l.audit_id = e.audit_id
    WHERE before IS NULL OR e.audit_id < before
    ORDER BY e.audit_id DESC LIMIT least(greatest(coalesce(most, 50), 1), 1000);
END $$;

-- These rows were looked at, by a person who may review, with the second factor proven. Returns the entry; NULL when this person had seen them all. AR422: one is no row.
CREATE OR REPLACE FUNCTION vault.administrator_see(secret bytea, for_purpose smallint, for_reason smallint, numbers bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.reviewer(secret, for_purpose, for_reason); n bigint;
BEGIN
    IF coalesce(cardinality(numbers), 0) NOT BETWEEN 1 AND 1000
       OR EXISTS (SELECT FROM unnest(numbers) u WHERE NOT EXISTS (SELECT FROM vault.administrator_entry e WHERE e.audit_id = u)) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'these are no entries of the administrator';
    END IF;
    IF NOT EXISTS (SELECT FROM unnest(numbers) u WHERE NOT EXISTS (SELECT FROM vault.administrator_seen x WHERE x.audit_id = u AND x.actor = s.actor)) THEN RETURN NULL; END IF;
    n := vault.note(s, vault.policy_in_force(), 43::smallint, true, NULL, NULL, NULL, 0, for_purpose, for_reason, NULL);
    INSERT INTO vault.administrator_seen (audit_id, actor, role, entry) SELECT DISTINCT u, s.actor, s.role, n FROM unnest(numbers) u ON CONFLICT DO NOTHING;
    RETURN n;
END $$;
