-- Create records, for new people or known ones, in one transaction with their audit rows. Parallel arrays, one element an item.
-- Values of item i come flattened: `value_items` says whose, ordered by ordinal from 1, NULL where a field is left out.
-- AR428 the keys changed · AR422 undeclared · AR403 not allowed, or the person is erased or unknown · AR423 restricted · AR409 a unique look-up value is taken.
CREATE OR REPLACE FUNCTION vault.create(secret bytea, for_purpose smallint, for_reason smallint, ref text,
    subjects uuid[], new_kinds text[], new_orgs uuid[], records uuid[], datasets smallint[], masks bigint[], new_origins smallint[],
    key_kinds smallint[], key_epochs int[], wrapped_keys bytea[], value_items int[], value_ciphertexts bytea[],
    lookup_items int[], lookup_ordinals smallint[], lookup_epochs int[], lookup_digests bytea[], jobs text[]) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    tx xid8 := pg_current_xact_id();
    pol int := vault.policy_in_force();
    here text := vault.door();
    s vault.session := vault.actor(secret);
    made bigint[];
    job text;
    failed_at text;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    IF EXISTS (
        SELECT FROM unnest(datasets, masks, new_origins) AS i (dataset, mask, origin)
        LEFT JOIN vault.declared_field d ON d.policy_id = pol AND d.dataset = i.dataset
        WHERE d.dataset IS NULL OR i.mask IS NULL OR i.mask & ~d.fields <> 0 OR i.origin NOT BETWEEN 1 AND 4 OR i.origin IS NULL) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'a dataset, field or origin is not declared in the policy in force';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(datasets) AS i (dataset) JOIN vault.dataset d ON d.id = i.dataset
        WHERE NOT EXISTS (SELECT FROM vault.door_compartment c WHERE c.policy_id = pol AND c.door = here AND c.compartment = d.compartment)) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    -- What follows finds an item by its number in these.
    IF array_ndims(subjects) > 1 OR array_ndims(datasets) > 1
       OR array_lower(subjects, 1) <> 1 OR array_lower(datasets, 1) <> 1 OR array_lower(masks, 1) <> 1
       -- In clear stands what kind somebody is, by a name like those of the policy; and a wrapped key is no more than a key.
       OR EXISTS (SELECT FROM unnest(new_kinds) k WHERE k !~ '^[a-z][a-z0-9_]{0,39}$') OR EXISTS (SELECT FROM unnest(wrapped_keys) w WHERE octet_length(w) > 4096) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the record is not of the declared shape';
    END IF;
    INSERT INTO vault.organisation (org_id) SELECT DISTINCT i.org FROM unnest(new_orgs, new_kinds) AS i (org, kind) WHERE i.org IS NOT NULL AND i.kind IS NOT NULL
        ON CONFLICT DO NOTHING;
    -- Whoever is being erased or locked at this moment is waited for: the checks that follow see what came of it, and nobody can be erased between
    -- them and the record. Without it a record could come in behind an erasure and stay.
    PERFORM FROM vault.subject j WHERE j.subject_id = ANY (subjects) ORDER BY j.subject_id FOR SHARE;
    IF EXISTS (SELECT FROM unnest(subjects) AS i (subject) JOIN vault.tombstone t ON t.subject_id = i.subject) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    INSERT INTO vault.subject (subject_id, kind, org_id)
        SELECT DISTINCT ON (i.subject) i.subject, i.kind, i.org FROM unnest(subjects, new_kinds, new_orgs) AS i (subject, kind, org) WHERE i.kind IS NOT NULL;
    IF EXISTS (
        SELECT FROM unnest(subjects, datasets, masks) AS i (subject, dataset, mask) LEFT JOIN vault.subject j ON j.subject_id = i.subject
        WHERE j.subject_id IS NULL OR j.state = 'erased'
           OR NOT vault.allowed(pol, s, 4::smallint, for_purpose, i.dataset, i.mask, j.subject_id, j.org_id)) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    IF EXISTS (SELECT FROM unnest(subjects) AS i (subject) JOIN vault.subject j ON j.subject_id = i.subject AND j.state = 'restricted') THEN
        RAISE EXCEPTION USING ERRCODE = 'AR423', MESSAGE = 'processing of this person is restricted';
    END IF;
    -- Values and look-ups are only of the fields that the mask names: by it the policy decided, and the entry says no others. A value is 64 KiB and its envelope
    -- at most (docs/data-model.md): whoever reads the record later has to hold it.
    IF EXISTS (
        SELECT FROM unnest(masks) WITH ORDINALITY AS i (mask, n) LEFT JOIN (
            SELECT v.item, sum(1::bigint << (v.ordinal - 1)) FILTER (WHERE v.ciphertext IS NOT NULL) AS given, max(v.ordinal) AS width, max(octet_length(v.ciphertext)) AS longest
            FROM (SELECT u.item, u.ciphertext, row_number() OVER (PARTITION BY u.item ORDER BY u.o)::int AS ordinal
                  FROM unnest(value_items, value_ciphertexts) WITH ORDINALITY AS u (item, ciphertext, o)) v GROUP BY v.item) g ON g.item = i.n
        WHERE g.given IS DISTINCT FROM i.mask OR g.width > 62 OR g.longest > 65565)
       OR EXISTS (SELECT FROM unnest(lookup_items, lookup_ordinals) AS l (item, ordinal)
                  WHERE (l.ordinal BETWEEN 1 AND 62 AND (masks[l.item] >> (l.ordinal - 1)) & 1 = 1) IS NOT TRUE) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the record is not of the declared shape';
    END IF;
    PERFORM vault.check_epochs(pol, datasets, key_epochs, lookup_items, lookup_ordinals, lookup_epochs);
    WITH items AS MATERIALIZED (
        SELECT i.*, nextval('vault.audit_number') AS id
        FROM unnest(subjects, records, datasets, masks, new_origins, key_kinds, key_epochs, wrapped_keys) WITH ORDINALITY
            AS i (subject, record, dataset, mask, origin, key_kind, key_epoch, wrapped, n)
    ), vals AS (
        SELECT v.item, array_agg(v.ciphertext ORDER BY v.o) AS ciphertexts, array_agg(CASE WHEN v.ciphertext IS NULL THEN NULL ELSE 1 END ORDER BY v.o) AS versions
        FROM unnest(value_items, value_ciphertexts) WITH ORDINALITY AS v (item, ciphertext, o) GROUP BY v.item
    ), recs AS (
        INSERT INTO vault.record (subject_id, record_id, dataset, present, versions, ciphertexts, origins, events)
        SELECT i.subject, i.record, i.dataset, i.mask, v.versions, v.ciphertexts,
            array_fill(i.origin, ARRAY[cardinality(v.ciphertexts)]), array_fill(i.id, ARRAY[cardinality(v.ciphertexts)])
        FROM items i JOIN vals v ON v.item = i.n
    ), keys AS (
        INSERT INTO vault.data_key (subject_id, record_id, compartment, epoch, kind, wrapped)
        SELECT i.subject, i.record, d.compartment, i.key_epoch, i.key_kind, i.wrapped FROM items i JOIN vault.dataset d ON d.id = i.dataset
    ), looks AS (
        INSERT INTO vault.lookup (dataset, ordinal, epoch, digest, subject_id, record_id, sole)
        SELECT i.dataset, l.ordinal, l.epoch, l.digest, i.subject, i.record, (f.unique_fields >> (l.ordinal - 1)) & 1 = 1
        FROM unnest(lookup_items, lookup_ordinals, lookup_epochs, lookup_digests) AS l (item, ordinal, epoch, digest)
        JOIN items i ON i.n = l.item JOIN vault.declared_field f ON f.policy_id = pol AND f.dataset = i.dataset
    ), noted AS (
        INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id)
        SELECT i.id, clock_timestamp(), tx, 4, true, here, s.actor, s.role, i.subject, i.record, i.dataset, i.mask, for_purpose, for_reason, ref, pol FROM items i
    )
    SELECT array_agg(i.id ORDER BY i.n) INTO made FROM items i;
    IF here = 'administrator' THEN PERFORM vault.tell_administrator(made); END IF;
    FOREACH job IN ARRAY coalesce(jobs, '{}') LOOP PERFORM vault.defer(job, subjects[1]); END LOOP;
    RETURN made;
EXCEPTION
    WHEN unique_violation THEN RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'a value that must be unique is taken';
    WHEN check_violation OR not_null_violation OR foreign_key_violation THEN
        -- The log has no place for the entry (a partition is gone): that is not the caller's doing, and another try may succeed.
        GET STACKED DIAGNOSTICS failed_at = TABLE_NAME;
        IF failed_at = 'audit' THEN RAISE; END IF;
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the record is not of the declared shape';
END $$;
