-- What is held of a person and who used it, in two steps as `ask` and `take`: `consult` decides and writes the entry, and only when it is committed do the
-- others tell anything, to the same actor at the same door, within 10 s. In one step whoever rolls back would have the rows and no entry.

-- Whether the policy lets this session describe a person (3) or list who used their data (16). Of who was erased, as of who never was, nothing is listed; asked
-- again when the ticket is shown. Internal.
CREATE OR REPLACE FUNCTION vault.may_consult(policy int, s vault.session, what smallint, for_purpose smallint, whom uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE j vault.subject;
BEGIN
    SELECT * INTO j FROM vault.subject x WHERE x.subject_id = whom;
    RETURN coalesce(CASE what
        WHEN 3 THEN j.state <> 'erased'
        -- Entries are of all datasets: a token bound to some compartments does not see the list.
        WHEN 16 THEN j.state <> 'erased' AND s.scope_compartments IS NULL
        END, false)
        AND EXISTS (SELECT FROM vault.rule r WHERE r.policy_id = policy AND r.role = s.role AND r.purpose = for_purpose AND r.operation = what
            AND vault.in_scope(s, what, for_purpose, r.dataset)
            AND CASE r.scope WHEN 'all' THEN true WHEN 'own' THEN whom = s.actor ELSE s.org_id IS NOT NULL AND j.org_id = s.org_id END);
END $$;

-- The first step. Returns the entry's number; AR403 when it is not allowed.
CREATE OR REPLACE FUNCTION vault.consult(secret bytea, what smallint, for_purpose smallint, for_reason smallint, ref text, whom uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    IF NOT vault.may_consult(pol, s, what, for_purpose, whom) THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    RETURN vault.note(s, pol, what, true, whom, NULL, NULL, 0, for_purpose, for_reason, ref);
END $$;

-- What the entry behind a ticket is about, or AR403: it is committed and of this very session's actor. Internal.
CREATE OR REPLACE FUNCTION vault.consulted(s vault.session, ticket bigint, what smallint, OUT subject uuid, OUT purpose smallint, OUT reason smallint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    PERFORM vault.flush_wal();
    SELECT x.subject, x.purpose, x.reason INTO subject, purpose, reason FROM vault.audit x
    WHERE x.audit_id = ticket AND x.granted AND x.operation = what AND x.door = vault.door() AND x.actor = s.actor
        AND x.at BETWEEN clock_timestamp() - interval '10 seconds' AND clock_timestamp() + interval '1 second' AND pg_xact_status(x.xact) = 'committed';
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
END $$;

-- The same about a person: what the policy says now is asked again. Internal.
CREATE OR REPLACE FUNCTION vault.consulted_person(s vault.session, ticket bigint, what smallint, OUT subject uuid, OUT purpose smallint)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    SELECT c.subject, c.purpose INTO subject, purpose FROM vault.consulted(s, ticket, what) c;
    IF NOT vault.may_consult(vault.policy_in_force(), s, what, purpose, subject) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
END $$;

-- What is held of a person, without opening it: one row a field, with origin and time (claim 1a.2, Law 18-07 art. 34).
DROP FUNCTION IF EXISTS vault.describe(bytea, smallint, smallint, text, uuid);
CREATE OR REPLACE FUNCTION vault.describe(secret bytea, ticket bigint)
RETURNS TABLE (record uuid, dataset smallint, ordinal smallint, version int, origin smallint, written_at timestamptz, event bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    asked record := vault.consulted_person(s, ticket, 3::smallint);
BEGIN
    RETURN QUERY
    -- Each time by its number: joined, the whole log was read for it, with statistics or without.
    SELECT r.record_id, r.dataset, o::smallint, r.versions[o], r.origins[o], (SELECT a.at FROM vault.audit a WHERE a.audit_id = r.events[o]), r.events[o]
    FROM vault.subject j JOIN vault.record r ON r.subject_id = j.subject_id CROSS JOIN LATERAL generate_subscripts(r.ciphertexts, 1) o
    WHERE j.subject_id = asked.subject AND r.ciphertexts[o] IS NOT NULL AND vault.allowed(pol, s, 3::smallint, asked.purpose, r.dataset, 0, j.subject_id, j.org_id)
    ORDER BY r.dataset, r.created_at, o;
END $$;

-- Who consulted a person's data, when, in which role, for which purpose and reason; newest first, `before` an entry number.
DROP FUNCTION IF EXISTS vault.accesses(bytea, smallint, smallint, uuid, int, bigint);
CREATE OR REPLACE FUNCTION vault.accesses(secret bytea, ticket bigint, most int, before bigint)
RETURNS TABLE (audit_id bigint, at timestamptz, operation text, granted boolean, reader uuid, role text, dataset text, fields text[], purpose text, reason text,
    reference text, leaf_no bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    s vault.session := vault.actor(secret);
    asked record := vault.consulted_person(s, ticket, 16::smallint);
BEGIN
    RETURN QUERY
    SELECT a.audit_id, a.at, o.name, a.granted, a.actor, r.name, d.name, vault.field_names(a.dataset, a.fields), p.name, c.name, a.reference, l.leaf_no
    FROM vault.audit a JOIN vault.operation o ON o.id = a.operation JOIN vault.role r ON r.id = a.role LEFT JOIN vault.dataset d ON d.id = a.dataset
    LEFT JOIN vault.purpose p ON p.id = a.purpose LEFT JOIN vault.reason c ON c.id = a.reason LEFT JOIN vault.leaf l ON l.audit_id = a.audit_id
    WHERE a.subject = asked.subject AND (before IS NULL OR a.audit_id < before)
    ORDER BY a.audit_id DESC LIMIT least(greatest(coalesce(most, 50), 1), 10000);
END $$;

CREATE OR REPLACE FUNCTION vault.field_names(of_dataset smallint, mask bigint) RETURNS text[]
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT coalesce(array_agg(f.name ORDER BY f.ordinal), '{}') FROM vault.field f WHERE f.dataset = of_dataset AND (mask >> (f.ordinal - 1)) & 1 = 1
$$;

-- One entry about the person of the ticket, as the leaf that it is: with it and the tiles a proof is made. NULL leaf_no: not sealed yet.
DROP FUNCTION IF EXISTS vault.access_entry(bytea, smallint, bigint);
CREATE OR REPLACE FUNCTION vault.access_entry(secret bytea, ticket bigint, number bigint) RETURNS TABLE (leaf_no bigint, audit_id bigint, at timestamptz, operation text,
    outcome text, door text, actor uuid, actor_role text, subject uuid, record uuid, dataset text, fields text[], purpose text, reason text, reference text, policy text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    s vault.session := vault.actor(secret);
    asked record := vault.consulted_person(s, ticket, 16::smallint);
BEGIN
    RETURN QUERY
    SELECT l.leaf_no, a.audit_id, a.at, o.name, CASE WHEN a.granted THEN 'granted' ELSE 'refused' END, a.door, a.actor, r.name, a.subject, a.record,
        d.name, vault.field_names(a.dataset, a.fields), p.name, c.name, a.reference, v.sha256
    FROM vault.audit a JOIN vault.operation o ON o.id = a.operation JOIN vault.role r ON r.id = a.role JOIN vault.policy_version v ON v.policy_id = a.policy_id
    LEFT JOIN vault.leaf l ON l.audit_id = a.audit_id LEFT JOIN vault.dataset d ON d.id = a.dataset LEFT JOIN vault.purpose p ON p.id = a.purpose
    LEFT JOIN vault.reason c ON c.id = a.reason
    WHERE a.audit_id = number AND a.subject = asked.subject;
END $$;

-- Which entry made this record of this person by this very actor: a number, -1 when the actor made the person with another record, NULL when not.
-- A request that was sent twice finds out here what became of the first (Idempotency-Key), as long as its token is wide enough for it.
CREATE OR REPLACE FUNCTION vault.made(secret bytea, whom uuid, which uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off AS $$
DECLARE s vault.session := vault.actor(secret); number bigint;
BEGIN
    -- The oldest first: who made somebody stands at the beginning, however often that person was read since.
    SELECT a.audit_id INTO number FROM vault.audit a WHERE a.subject = whom AND a.record = which AND a.operation = 4 AND a.granted AND a.actor = s.actor
        AND vault.in_scope(s, 4::smallint, a.purpose, a.dataset) ORDER BY a.audit_id LIMIT 1;
    IF number IS NULL THEN
        SELECT -1 INTO number FROM vault.audit a WHERE a.subject = whom AND a.operation = 4 AND a.granted AND a.actor = s.actor
            AND vault.in_scope(s, 4::smallint, a.purpose, a.dataset) ORDER BY a.audit_id LIMIT 1;
    END IF;
    RETURN number;
END $$;
