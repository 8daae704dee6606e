-- The first step of a read: decide and write one audit row an item. Returns ticket numbers, never a ciphertext nor a wrapped key.
-- Parallel arrays. Items are `subjects`, `records` and `shapes`; who asks for what and why (the other arrays) is looked up once a shape, and `shapes`
-- names the shape of each item, from 1. Without `shapes` each item has one of its own. `whats` is 1 (read) or 8 (release of the key for a correction,
-- allowed by the rule for `correct`).
DROP FUNCTION IF EXISTS vault.ask(bytea[], smallint[], smallint[], smallint[], text[], uuid[], uuid[], smallint[], bigint[]);
CREATE OR REPLACE FUNCTION vault.ask(secrets bytea[], whats smallint[], purposes smallint[], reasons smallint[], refs text[], subjects uuid[], records uuid[],
    datasets smallint[], masks bigint[], shapes int[] DEFAULT NULL) RETURNS TABLE (item int, ticket bigint, verdict smallint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    tx xid8 := pg_current_xact_id();
    pol int := vault.policy_in_force();
    here text := vault.door();
    since bigint := CASE WHEN here = 'administrator' THEN nextval('vault.audit_number') END;
BEGIN
    RETURN QUERY
    WITH shape AS MATERIALIZED (
        SELECT h.k, h.what, h.purpose, h.reason, h.ref, h.dataset, h.mask, s.secret_hash, s.actor, s.role, s.org_id AS actor_org, r.scope_all, r.scope_own, r.scope_org,
            CASE
                WHEN s.secret_hash IS NULL THEN 1
                WHEN h.mask IS NULL OR h.mask = 0 OR h.ref !~ '^[A-Z]{1,8}-?[0-9]{1,12}$' OR h.what NOT IN (1, 8) OR r.scope_all IS NULL THEN 2
                WHEN s.kind = 'token' AND NOT (
                    coalesce(CASE h.what WHEN 8 THEN 5 ELSE h.what END = ANY (s.scope_operations), true) AND coalesce(h.purpose = ANY (s.scope_purposes), true)
                    AND (s.scope_compartments IS NULL OR EXISTS (SELECT FROM vault.dataset x WHERE x.id = h.dataset AND x.compartment = ANY (s.scope_compartments)))) THEN 2
                ELSE 0
            END AS refusal,
            EXISTS (SELECT FROM vault.declared_purpose q WHERE q.policy_id = pol AND q.purpose = h.purpose AND q.while_restricted) AS while_restricted
        FROM unnest(secrets, whats, purposes, reasons, refs, datasets, masks) WITH ORDINALITY AS h (secret, what, purpose, reason, ref, dataset, mask, k)
        LEFT JOIN vault.session s ON s.secret_hash = h.secret AND s.revoked_at IS NULL AND s.door = here
            AND s.expires_at > clock_timestamp() AND s.created_at <= clock_timestamp() + interval '5 seconds'
            AND s.usable
        LEFT JOIN LATERAL (
            SELECT bool_or(r.scope = 'all') AS scope_all, bool_or(r.scope = 'own') AS scope_own, bool_or(r.scope = 'org') AS scope_org
            FROM vault.rule r
            WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = h.purpose AND r.dataset = h.dataset
              AND r.operation = CASE h.what WHEN 8 THEN 5 ELSE h.what END AND h.mask & ~r.fields = 0
              AND EXISTS (SELECT FROM vault.declared_reason d WHERE d.policy_id = pol AND d.reason = h.reason AND d.purpose = h.purpose)
        ) r ON true
    ), judged AS MATERIALIZED (
        SELECT i.n, i.subject, i.record, h.what, h.purpose, h.reason, h.ref, h.dataset, h.mask, h.actor, h.role,
            (CASE
                WHEN h.refusal <> 0 THEN h.refusal
                WHEN j.subject_id IS NULL OR j.state = 'erased' THEN 3
                WHEN (h.scope_all OR h.scope_own AND j.subject_id = h.actor OR h.scope_org AND j.org_id = h.actor_org) IS NOT TRUE THEN 3
                WHEN j.state = 'restricted' AND NOT h.while_restricted THEN 4
                ELSE 0
            END)::smallint AS verdict,
            CASE WHEN h.secret_hash IS NOT NULL THEN nextval('vault.audit_number') END AS id
        FROM unnest(subjects, records, shapes) WITH ORDINALITY AS i (subject, record, shape, n)
        JOIN shape h ON h.k = coalesce(i.shape, i.n)
        LEFT JOIN vault.subject j ON j.subject_id = i.subject
    ), noted AS (
        INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id)
        SELECT j.id, clock_timestamp(), tx, CASE WHEN j.what IN (1, 8) THEN j.what ELSE 1 END, j.verdict = 0, here, j.actor, j.role, j.subject, j.record, j.dataset, coalesce(j.mask, 0),
            coalesce(j.purpose, 0::smallint), coalesce(j.reason, 0::smallint), CASE WHEN j.ref ~ '^[A-Z]{1,8}-?[0-9]{1,12}$' THEN j.ref END, pol
        FROM judged j WHERE j.id IS NOT NULL
    )
    SELECT j.n::int, CASE WHEN j.verdict = 0 THEN j.id END, j.verdict FROM judged j ORDER BY j.n;
    IF here = 'administrator' THEN PERFORM vault.tell_administrator_since(since); END IF;
END $$;

-- The same by blind-index digests in the place of subjects: of one actor, for one purpose and set of fields. `items` says which item each digest is
-- of, from 1 (one item without it): each has one digest an epoch. Tickets are given whether or not anybody is found: only `take`, after the commit,
-- tells. NULL: the policy does not allow it.
DROP FUNCTION IF EXISTS vault.ask_find(bytea, smallint, smallint, text, smallint, smallint, int[], bytea[], bigint);
CREATE OR REPLACE FUNCTION vault.ask_find(secret bytea, asked_purpose smallint, asked_reason smallint, ref text, asked_dataset smallint, asked_ordinal smallint,
    epochs int[], digests bytea[], mask bigint, items int[] DEFAULT NULL) RETURNS TABLE (item int, ticket bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    tx xid8 := pg_current_xact_id();
    pol int := vault.policy_in_force();
    here text := vault.door();
    since bigint := CASE WHEN here = 'administrator' THEN nextval('vault.audit_number') END;
    s vault.session := vault.actor(secret);
    whole boolean; own boolean; org boolean; allowed boolean; readable boolean; lawful boolean;
BEGIN
    PERFORM vault.check_reason(pol, asked_purpose, asked_reason, ref);
    PERFORM vault.check_search(asked_dataset, epochs);
    -- Both to look up by this field and to read these fields; of a person only what both allow.
    SELECT bool_and(x.scope_all), bool_and(x.scope_all OR x.scope_own), bool_and(x.scope_all OR x.scope_org), count(*) = 2 INTO whole, own, org, allowed
    FROM (SELECT bool_or(r.scope = 'all') AS scope_all, bool_or(r.scope = 'own') AS scope_own, bool_or(r.scope = 'org') AS scope_org FROM vault.rule r
          WHERE r.policy_id = pol AND r.role = s.role AND r.purpose = asked_purpose AND r.dataset = asked_dataset
            AND (r.operation = 2 AND r.fields & (1::bigint << (asked_ordinal - 1)) <> 0 OR r.operation = 1 AND mask & ~r.fields = 0) GROUP BY r.operation) x;
    allowed := allowed AND vault.in_scope(s, 2::smallint, asked_purpose, asked_dataset);
    readable := vault.in_scope(s, 1::smallint, asked_purpose, asked_dataset);
    lawful := EXISTS (SELECT FROM vault.declared_purpose q WHERE q.policy_id = pol AND q.purpose = asked_purpose AND q.while_restricted);
    RETURN QUERY
    WITH found AS (
        SELECT DISTINCT ON (d.item) d.item, h.subject_id, h.record_id, h.org_id, h.state
        FROM (SELECT coalesce(u.item, 1) AS item, u.epoch, u.digest FROM unnest(items, epochs, digests) AS u (item, epoch, digest)) d
        -- Each digest by itself (OFFSET 0): joined, all look-ups of the field were read and compared while the server had no statistics of them.
        LEFT JOIN LATERAL (
            SELECT j.subject_id, l.record_id, j.org_id, j.state, j.created_at FROM vault.lookup l JOIN vault.subject j ON j.subject_id = l.subject_id AND j.state <> 'erased'
            WHERE l.dataset = asked_dataset AND l.ordinal = asked_ordinal AND l.epoch = d.epoch AND l.digest = d.digest OFFSET 0) h ON true
        ORDER BY d.item, h.created_at DESC NULLS LAST, h.subject_id
    ), judged AS MATERIALIZED (
        SELECT f.item, nextval('vault.audit_number') AS id,
            (allowed AND readable AND (whole OR own AND f.subject_id = s.actor OR org AND f.org_id = s.org_id) AND (f.state = 'active' OR lawful)) IS TRUE AS shown,
            f.subject_id, f.record_id
        FROM found f
    ), noted AS (
        INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id)
        SELECT j.id, clock_timestamp(), tx, 2, allowed, here, s.actor, s.role, CASE WHEN j.shown THEN j.subject_id END, CASE WHEN j.shown THEN j.record_id END,
            asked_dataset, mask, asked_purpose, asked_reason, ref, pol FROM judged j
    )
    SELECT j.item, CASE WHEN allowed THEN j.id END FROM judged j ORDER BY j.item;
    IF here = 'administrator' THEN PERFORM vault.tell_administrator_since(since); END IF;
END $$;
