-- Correct fields of one record. `expected` holds the versions that the caller saw: a value changed since then is AR412. Ciphertexts are bound to
-- version expected + 1 (AAD), so a lost race can never be written. AR428 when look-ups are not of the epochs searched now. Look-ups of the changed fields are replaced.
CREATE OR REPLACE FUNCTION vault.correct(secret bytea, for_purpose smallint, for_reason smallint, ref text, whom uuid, which uuid, new_origin smallint,
    ordinals smallint[], expected int[], new_ciphertexts bytea[], lookup_ordinals smallint[], lookup_epochs int[], lookup_digests bytea[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pol int := vault.policy_in_force();
    s vault.session := vault.actor(secret);
    r vault.record; j vault.subject; mask bigint; n bigint; c smallint; o smallint; failed_at text;
BEGIN
    PERFORM vault.check_reason(pol, for_purpose, for_reason, ref);
    -- An ordinal beyond the mask would be counted as another field (a shift wraps) and move all values of the record; a NULL among the versions would
    -- pass for the right one, and so would an array that begins elsewhere than at 1. Look-ups are only of what is corrected.
    IF EXISTS (SELECT FROM unnest(ordinals) AS x (ordinal) WHERE (x.ordinal BETWEEN 1 AND 62) IS NOT TRUE) OR array_ndims(ordinals) > 1
       OR cardinality(ordinals) <> (SELECT count(DISTINCT x) FROM unnest(ordinals) x) OR array_ndims(expected) > 1 OR array_position(expected, NULL) IS NOT NULL
       OR cardinality(expected) IS DISTINCT FROM cardinality(ordinals) OR array_lower(ordinals, 1) <> 1 OR array_lower(expected, 1) <> 1 OR new_origin IS NULL
       OR EXISTS (SELECT FROM unnest(new_ciphertexts) v WHERE octet_length(v) > 65565) OR NOT coalesce(lookup_ordinals, '{}') <@ ordinals THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the record is not of the declared shape';
    END IF;
    SELECT bit_or(1::bigint << (x.ordinal - 1)) INTO mask FROM unnest(ordinals) AS x (ordinal);
    SELECT * INTO j FROM vault.subject x WHERE x.subject_id = whom FOR SHARE;
    SELECT * INTO r FROM vault.record x WHERE x.subject_id = whom AND x.record_id = which FOR UPDATE;
    IF r.record_id IS NULL OR j.state = 'erased' OR NOT vault.allowed(pol, s, 5::smallint, for_purpose, r.dataset, mask, whom, j.org_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    SELECT d.compartment INTO c FROM vault.dataset d WHERE d.id = r.dataset;
    IF NOT EXISTS (SELECT FROM vault.door_compartment x WHERE x.policy_id = pol AND x.door = vault.door() AND x.compartment = c AND x.mode = 'full') THEN
        RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed';
    END IF;
    IF j.state = 'restricted' AND NOT EXISTS (SELECT FROM vault.declared_purpose q WHERE q.policy_id = pol AND q.purpose = for_purpose AND q.while_restricted) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR423', MESSAGE = 'processing of this person is restricted';
    END IF;
    IF mask & ~(SELECT d.fields FROM vault.declared_field d WHERE d.policy_id = pol AND d.dataset = r.dataset) <> 0 OR new_origin NOT BETWEEN 1 AND 4 THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'a field or origin is not declared in the policy in force';
    END IF;
    PERFORM vault.check_epochs(pol, ARRAY[r.dataset], ARRAY[]::int[], array_fill(1, ARRAY[cardinality(lookup_ordinals)]), lookup_ordinals, lookup_epochs);
    n := vault.note(s, pol, 5::smallint, true, whom, which, r.dataset, mask, for_purpose, for_reason, ref);
    FOR i IN cardinality(r.ciphertexts) + 1 .. (SELECT max(x) FROM unnest(ordinals) x) LOOP
        r.versions[i] := NULL; r.ciphertexts[i] := NULL; r.origins[i] := new_origin; r.events[i] := n;
    END LOOP;
    FOR i IN 1 .. cardinality(ordinals) LOOP
        o := ordinals[i];
        IF coalesce(r.versions[o], 0) <> expected[i] OR new_ciphertexts[i] IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'AR412', MESSAGE = 'the value changed since it was read';
        END IF;
        r.versions[o] := expected[i] + 1; r.ciphertexts[o] := new_ciphertexts[i]; r.origins[o] := new_origin; r.events[o] := n;
    END LOOP;
    UPDATE vault.record x SET present = r.present | mask, versions = r.versions, ciphertexts = r.ciphertexts, origins = r.origins, events = r.events
        WHERE x.subject_id = whom AND x.record_id = which;
    DELETE FROM vault.lookup x WHERE x.subject_id = whom AND x.record_id = which AND x.ordinal = ANY (ordinals);
    INSERT INTO vault.lookup (dataset, ordinal, epoch, digest, subject_id, record_id, sole)
        SELECT r.dataset, l.ordinal, l.epoch, l.digest, whom, which, (f.unique_fields >> (l.ordinal - 1)) & 1 = 1
        FROM unnest(lookup_ordinals, lookup_epochs, lookup_digests) AS l (ordinal, epoch, digest)
        JOIN vault.declared_field f ON f.policy_id = pol AND f.dataset = r.dataset;
    RETURN n;
EXCEPTION
    WHEN unique_violation THEN RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'a value that must be unique is taken';
    WHEN check_violation OR not_null_violation OR array_subscript_error THEN
        -- The log has no place for the entry (a partition is gone): that is not the caller's doing, and another try may succeed.
        GET STACKED DIAGNOSTICS failed_at = TABLE_NAME;
        IF failed_at = 'audit' THEN RAISE; END IF;
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'the record is not of the declared shape';
END $$;
