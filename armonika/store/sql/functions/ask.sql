-- The first step of a read: decide and write one audit row an item. Returns ticket numbers, never a ciphertext nor a wrapped key.
-- Parallel arrays, one element an item. `whats` is 1 (read) or 8 (release of the key for a correction, allowed by the rule for `correct`).
CREATE OR REPLACE FUNCTION vault.ask(secrets bytea[], whats smallint[], purposes smallint[], reasons smallint[], refs text[], subjects uuid[], records uuid[],
    datasets smallint[], masks bigint[]) RETURNS TABLE (item int, ticket bigint, verdict smallint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    tx xid8 := pg_current_xact_id();
    pol int := vault.policy_in_force();
    here text := vault.door();
BEGIN
    RETURN QUERY
    -- What the policy says of a role, purpose, dataset and set of fields is looked up once for all items of that shape.
    WITH asked AS MATERIALIZED (
        SELECT a.n, a.what, a.purpose, a.reason, a.ref, a.subject, a.record, a.dataset, a.mask, s.secret_hash, s.actor, s.role, s.kind, s.org_id AS actor_org,
            s.scope_operations, s.scope_purposes, s.scope_compartments, j.subject_id AS found, j.org_id AS found_org, j.state
        FROM unnest(secrets, whats, purposes, reasons, refs, subjects, records, datasets, masks) WITH ORDINALITY
            AS a (secret, what, purpose, reason, ref, subject, record, dataset, mask, n)
        LEFT JOIN vault.session s ON s.secret_hash = a.secret AND s.revoked_at IS NULL AND s.door = here
            AND s.expires_at > clock_timestamp() AND s.created_at <= clock_timestamp() + interval '5 seconds'
        LEFT JOIN vault.subject j ON j.subject_id = a.subject
    ), ruled AS MATERIALIZED (
        SELECT x.*, r.scope_all, r.scope_own, r.scope_org
        FROM (SELECT DISTINCT a.role, a.purpose, a.reason, a.dataset, a.what, a.mask FROM asked a WHERE a.role IS NOT NULL) x
        CROSS JOIN LATERAL (
            SELECT bool_or(r.scope = 'all') AS scope_all, bool_or(r.scope = 'own') AS scope_own, bool_or(r.scope = 'org') AS scope_org
            FROM vault.rule r
            WHERE r.policy_id = pol AND r.role = x.role AND r.purpose = x.purpose AND r.dataset = x.dataset
              AND r.operation = CASE x.what WHEN 8 THEN 5 ELSE x.what END AND x.mask & ~r.fields = 0
            HAVING count(*) > 0
        ) r
        WHERE EXISTS (SELECT FROM vault.declared_reason d WHERE d.policy_id = pol AND d.reason = x.reason AND d.purpose = x.purpose)
    ), judged AS MATERIALIZED (
        SELECT a.n, a.what, a.purpose, a.reason, a.ref, a.subject, a.record, a.dataset, a.mask, a.actor, a.role,
            (CASE
                WHEN a.secret_hash IS NULL THEN 1
                WHEN a.mask IS NULL OR a.mask = 0 OR a.ref !~ '^[A-Z]{1,8}-?[0-9]{1,12}$' OR a.what NOT IN (1, 8) OR u.role IS NULL THEN 2
                WHEN a.kind = 'token' AND NOT (
                    coalesce(CASE a.what WHEN 8 THEN 5 ELSE a.what END = ANY (a.scope_operations), true) AND coalesce(a.purpose = ANY (a.scope_purposes), true)
                    AND (a.scope_compartments IS NULL OR EXISTS (SELECT FROM vault.dataset x WHERE x.id = a.dataset AND x.compartment = ANY (a.scope_compartments)))) THEN 2
                WHEN a.found IS NULL OR a.state = 'erased' THEN 3
                WHEN NOT ((u.scope_all) OR (u.scope_own AND a.found = a.actor) OR (u.scope_org AND a.found_org = a.actor_org)) IS TRUE THEN 3
                WHEN a.state = 'restricted' AND NOT EXISTS (SELECT FROM vault.declared_purpose q WHERE q.policy_id = pol AND q.purpose = a.purpose AND q.while_restricted) THEN 4
                ELSE 0
            END)::smallint AS verdict,
            CASE WHEN a.secret_hash IS NOT NULL THEN nextval('vault.audit_number') END AS id
        FROM asked a
        LEFT JOIN ruled u ON u.role = a.role AND u.purpose = a.purpose AND u.reason = a.reason AND u.dataset = a.dataset AND u.what = a.what AND u.mask = a.mask
    ), noted AS (
        INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id)
        SELECT j.id, clock_timestamp(), tx, CASE WHEN j.what IN (1, 8) THEN j.what ELSE 1 END, j.verdict = 0, here, j.actor, j.role, j.subject, j.record, j.dataset, coalesce(j.mask, 0),
            coalesce(j.purpose, 0::smallint), coalesce(j.reason, 0::smallint), CASE WHEN j.ref ~ '^[A-Z]{1,8}-?[0-9]{1,12}$' THEN j.ref END, pol
        FROM judged j WHERE j.id IS NOT NULL
    )
    SELECT j.n::int, CASE WHEN j.verdict = 0 THEN j.id END, j.verdict FROM judged j ORDER BY j.n;
END $$;

-- The same by a blind-index digest in the place of the subject. Several digests (one an epoch) may stand for one item. The ticket is given
-- whether or not anybody is found: only `take`, after the commit, tells.
CREATE OR REPLACE FUNCTION vault.ask_find(secret bytea, asked_purpose smallint, asked_reason smallint, ref text, asked_dataset smallint, asked_ordinal smallint,
    epochs int[], digests bytea[], mask bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    found_subject uuid; found_record uuid; found_org uuid; found_state text; scoped boolean;
BEGIN
    PERFORM vault.check_reason(pol, asked_purpose, asked_reason, ref);
    PERFORM vault.check_search(asked_dataset, epochs);
    SELECT j.subject_id, l.record_id, j.org_id, j.state INTO found_subject, found_record, found_org, found_state
    FROM unnest(epochs, digests) AS d (epoch, digest)
    JOIN vault.lookup l ON l.dataset = asked_dataset AND l.ordinal = asked_ordinal AND l.epoch = d.epoch AND l.digest = d.digest
    JOIN vault.subject j ON j.subject_id = l.subject_id AND j.state <> 'erased'
    ORDER BY j.created_at DESC, j.subject_id LIMIT 1;
    IF NOT vault.in_scope(s, 2::smallint, asked_purpose, asked_dataset)
       OR NOT EXISTS (SELECT FROM vault.rule r WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = asked_purpose AND r.dataset = asked_dataset
            AND r.operation = 2 AND r.fields & (1::bigint << (asked_ordinal - 1)) <> 0)
       OR NOT EXISTS (SELECT FROM vault.rule r WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = asked_purpose AND r.dataset = asked_dataset
            AND r.operation = 1 AND mask & ~r.fields = 0) THEN
        PERFORM vault.note(s, pol, 2::smallint, false, NULL, NULL, asked_dataset, mask, asked_purpose, asked_reason, ref);
        RETURN NULL;
    END IF;
    scoped := vault.allowed(pol, s, 2::smallint, asked_purpose, asked_dataset, 1::bigint << (asked_ordinal - 1), found_subject, found_org)
        AND vault.allowed(pol, s, 1::smallint, asked_purpose, asked_dataset, mask, found_subject, found_org)
        AND (found_state = 'active' OR EXISTS (SELECT FROM vault.declared_purpose q WHERE q.policy_id = pol AND q.purpose = asked_purpose AND q.while_restricted));
    IF scoped IS NOT TRUE THEN found_subject := NULL; found_record := NULL; END IF;
    RETURN vault.note(s, pol, 2::smallint, true, found_subject, found_record, asked_dataset, mask, asked_purpose, asked_reason, ref);
END $$;
