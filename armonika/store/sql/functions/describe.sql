-- What is held of a person, without opening it: one row a field, with origin and time (claim 1a.2, Law 18-07 art. 34). Audited.
CREATE OR REPLACE FUNCTION vault.describe(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid)
RETURNS TABLE (record uuid, dataset smallint, ordinal smallint, version int, origin smallint, written_at timestamptz, event bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    j vault.subject;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    SELECT * INTO j FROM vault.subject x WHERE x.subject_id = whom;
    IF j.subject_id IS NULL OR j.state = 'erased' OR NOT EXISTS (
        SELECT FROM vault.rule r WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = for_purpose AND r.operation = 3 AND vault.in_scope(s, 3::smallint, for_purpose, r.dataset)
          AND CASE r.scope WHEN 'all' THEN true WHEN 'own' THEN whom = s.actor ELSE s.org_id IS NOT NULL AND j.org_id = s.org_id END) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    PERFORM vault.note(s, pol, 3::smallint, true, whom, NULL, NULL, 0, for_purpose, for_reason, ref);
    RETURN QUERY
    SELECT r.record_id, r.dataset, o::smallint, r.versions[o], r.origins[o], a.at, r.events[o]
    FROM vault.record r CROSS JOIN LATERAL generate_subscripts(r.ciphertexts, 1) o LEFT JOIN vault.audit a ON a.audit_id = r.events[o]
    WHERE r.subject_id = whom AND r.ciphertexts[o] IS NOT NULL AND vault.allowed(pol, s, 3::smallint, for_purpose, r.dataset, 0, whom, j.org_id)
    ORDER BY r.dataset, r.created_at, o;
END $$;

-- Who consulted a person's data, when, in which role, for which purpose and reason; newest first, `before` an entry number. Audited.
CREATE OR REPLACE FUNCTION vault.accesses(secret bytea, for_purpose smallint, for_reason smallint, whom uuid, most int, before bigint)
RETURNS TABLE (audit_id bigint, at timestamptz, operation text, granted boolean, reader uuid, role text, dataset text, fields text[], purpose text, reason text,
    reference text, leaf_no bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    org uuid;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, NULL);
    SELECT x.org_id INTO org FROM vault.subject x WHERE x.subject_id = whom;
    -- Entries are of all datasets: a token bound to some compartments does not see the list.
    IF NOT (coalesce(16 = ANY (s.scope_operations), true) AND coalesce(for_purpose = ANY (s.scope_purposes), true) AND s.scope_compartments IS NULL) OR NOT EXISTS (
        SELECT FROM vault.rule r WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = for_purpose AND r.operation = 16
          AND CASE r.scope WHEN 'all' THEN true WHEN 'own' THEN whom = s.actor ELSE s.org_id IS NOT NULL AND org = s.org_id END) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    PERFORM vault.note(s, pol, 16::smallint, true, whom, NULL, NULL, 0, for_purpose, for_reason, NULL);
    RETURN QUERY
    SELECT a.audit_id, a.at, o.name, a.granted, a.actor, r.name, d.name, vault.field_names(a.dataset, a.fields), p.name, c.name, a.reference, l.leaf_no
    FROM vault.audit a JOIN vault.operation o ON o.id = a.operation JOIN vault.role r ON r.id = a.role LEFT JOIN vault.dataset d ON d.id = a.dataset
    LEFT JOIN vault.purpose p ON p.id = a.purpose LEFT JOIN vault.reason c ON c.id = a.reason LEFT JOIN vault.leaf l ON l.audit_id = a.audit_id
    WHERE a.subject = whom AND (before IS NULL OR a.audit_id < before)
    ORDER BY a.audit_id DESC LIMIT least(greatest(coalesce(most, 50), 1), 10000);
END $$;

CREATE OR REPLACE FUNCTION vault.field_names(of_dataset smallint, mask bigint) RETURNS text[]
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT coalesce(array_agg(f.name ORDER BY f.ordinal), '{}') FROM vault.field f WHERE f.dataset = of_dataset AND (mask >> (f.ordinal - 1)) & 1 = 1
$$;

-- One entry about a person, as the leaf that it is, for who may see the list: with it and the tiles a proof is made. NULL leaf_no: not sealed yet.
CREATE OR REPLACE FUNCTION vault.access_entry(secret bytea, for_purpose smallint, number bigint) RETURNS TABLE (leaf_no bigint, audit_id bigint, at timestamptz, operation text,
    outcome text, door text, actor uuid, actor_role text, subject uuid, record uuid, dataset text, fields text[], purpose text, reason text, reference text, policy text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
BEGIN
    RETURN QUERY
    SELECT l.leaf_no, a.audit_id, a.at, o.name, CASE WHEN a.granted THEN 'granted' ELSE 'refused' END, a.door, a.actor, r.name, a.subject, a.record,
        d.name, vault.field_names(a.dataset, a.fields), p.name, c.name, a.reference, v.sha256
    FROM vault.audit a JOIN vault.operation o ON o.id = a.operation JOIN vault.role r ON r.id = a.role JOIN vault.policy_version v ON v.policy_id = a.policy_id
    LEFT JOIN vault.leaf l ON l.audit_id = a.audit_id LEFT JOIN vault.dataset d ON d.id = a.dataset LEFT JOIN vault.purpose p ON p.id = a.purpose
    LEFT JOIN vault.reason c ON c.id = a.reason LEFT JOIN vault.subject j ON j.subject_id = a.subject
    WHERE a.audit_id = number AND coalesce(16 = ANY (s.scope_operations), true) AND coalesce(for_purpose = ANY (s.scope_purposes), true) AND s.scope_compartments IS NULL AND EXISTS (
        SELECT FROM vault.rule u WHERE u.policy_id = pol AND u.role = s.role AND u.purpose = for_purpose AND u.operation = 16
          AND CASE u.scope WHEN 'all' THEN true WHEN 'own' THEN a.subject = s.actor ELSE s.org_id IS NOT NULL AND j.org_id = s.org_id END);
END $$;

-- Which entry made this record of this person by this very actor: a number, -1 when the actor made the person with another record, NULL when not.
-- A request that was sent twice finds out here what became of the first (Idempotency-Key).
CREATE OR REPLACE FUNCTION vault.made(secret bytea, whom uuid, which uuid) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session := vault.actor(secret);
BEGIN
    RETURN (SELECT CASE WHEN a.record = which THEN a.audit_id ELSE -1 END FROM vault.audit a
            WHERE a.subject = whom AND a.operation = 4 AND a.granted AND a.actor = s.actor ORDER BY a.record = which DESC LIMIT 1);
END $$;
