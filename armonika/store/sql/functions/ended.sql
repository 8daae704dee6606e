-- The register of what ended: read by the sealer, replayed by a restore (docs/security/erasure.md).
DROP FUNCTION IF EXISTS vault.unregistered(int);
CREATE FUNCTION vault.unregistered(most int) RETURNS TABLE (ended_no bigint, at timestamptz, subject uuid, record uuid, compartment text, epoch int, audit_id bigint,
    records int, kept int)
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT e.ended_no, e.at, e.subject_id, e.record_id, c.name, e.epoch, e.audit_id, e.records, e.kept FROM vault.ended e LEFT JOIN vault.compartment c ON c.id = e.compartment
    WHERE NOT e.registered ORDER BY e.ended_no LIMIT least(most, 10000)
$$;
CREATE OR REPLACE FUNCTION vault.mark_registered(numbers bigint[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    UPDATE vault.ended SET registered = true WHERE ended_no = ANY (numbers)
$$;

-- Ends again, in a restored copy, what had ended by the register. The same again changes nothing. Of whom nothing was kept (`records_kept` 0) nothing
-- stays, whether or not each record has its line yet. For the administrator.
DROP FUNCTION IF EXISTS vault.replay_ended(bigint, timestamptz, uuid, uuid, text, int, bigint);
CREATE OR REPLACE FUNCTION vault.replay_ended(number bigint, ended_at timestamptz, whom uuid, which uuid, name_of text, of_epoch int, entry bigint,
    records_gone int, records_kept int) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE left_over int;
BEGIN
    IF EXISTS (SELECT FROM vault.ended e WHERE e.ended_no = number AND e.subject_id = whom AND e.record_id IS NOT DISTINCT FROM which) THEN RETURN false; END IF;
    INSERT INTO vault.ended (ended_no, at, subject_id, record_id, compartment, epoch, audit_id, registered, records, kept)
        VALUES (number, ended_at, whom, which, (SELECT c.id FROM vault.compartment c WHERE c.name = name_of), of_epoch, entry, true, records_gone, records_kept);
    IF which IS NOT NULL THEN
        DELETE FROM vault.record r WHERE r.subject_id = whom AND r.record_id = which;
        RETURN true;
    END IF;
    IF records_kept = 0 THEN DELETE FROM vault.record r WHERE r.subject_id = whom; END IF;
    SELECT count(*) INTO left_over FROM vault.record r WHERE r.subject_id = whom;
    -- As vault.erase did: whose account stays is neither signed out nor locked.
    IF left_over > 0 AND vault.has_account(whom) THEN RETURN true; END IF;
    PERFORM vault.end_sign_in(whom);
    UPDATE vault.subject x SET state = CASE WHEN left_over = 0 THEN 'erased' ELSE 'restricted' END, org_id = CASE WHEN left_over = 0 THEN NULL ELSE x.org_id END
        WHERE x.subject_id = whom;
    IF left_over = 0 THEN
        INSERT INTO vault.tombstone (subject_id, erased_at, audit_id, records) VALUES (whom, ended_at, entry, coalesce(records_gone, 0)) ON CONFLICT DO NOTHING;
    END IF;
    RETURN true;
END $$;

-- Puts back entries of the sealed log that a restored copy has lost, so that the log goes on and never forks. For the administrator.
CREATE OR REPLACE FUNCTION vault.import_entries(first bigint, entries jsonb, hashes bytea[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE st vault.seal_state; missing text;
BEGIN
    SELECT * INTO st FROM vault.seal_state FOR UPDATE;
    IF st.size <> first OR jsonb_array_length(entries) <> cardinality(hashes) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'the tree has another size';
    END IF;
    SELECT e ->> 'policy' INTO missing FROM jsonb_array_elements(entries) e WHERE NOT EXISTS (SELECT FROM vault.policy_version v WHERE v.sha256 = e ->> 'policy') LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = format('policy version %s is not installed', missing);
    END IF;
    INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id)
    SELECT (e ->> 'audit_id')::bigint, (e ->> 'at')::timestamptz, pg_current_xact_id(), o.id, e ->> 'outcome' = 'granted', e ->> 'door', (e ->> 'actor')::uuid, r.id,
        (e ->> 'subject')::uuid, (e ->> 'record')::uuid, d.id, vault.mask_of(d.id, e -> 'fields'), coalesce(p.id, 0::smallint), coalesce(c.id, 0::smallint),
        e ->> 'reference', v.policy_id
    FROM jsonb_array_elements(entries) e JOIN vault.operation o ON o.name = e ->> 'operation' JOIN vault.role r ON r.name = e ->> 'actor_role'
    JOIN vault.policy_version v ON v.sha256 = e ->> 'policy' LEFT JOIN vault.dataset d ON d.name = e ->> 'dataset'
    LEFT JOIN vault.purpose p ON p.name = e ->> 'purpose' LEFT JOIN vault.reason c ON c.name = e ->> 'reason'
    ON CONFLICT (audit_id) DO NOTHING;
    -- One that was there already is committed but was not sealed in the copy. Another under its number was written since, and no log could hold both.
    IF EXISTS (SELECT FROM jsonb_array_elements(entries) e JOIN vault.audit a ON a.audit_id = (e ->> 'audit_id')::bigint WHERE a.at <> (e ->> 'at')::timestamptz) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'it and the database went different ways: something was written to this copy before the log was replayed. Put the copy in place again and start it with `armonika serve`';
    END IF;
    PERFORM vault.tell_administrator(ARRAY(SELECT (e ->> 'audit_id')::bigint FROM jsonb_array_elements(entries) e WHERE e ->> 'door' = 'administrator'));
    INSERT INTO vault.leaf (leaf_no, audit_id, leaf_hash)
        SELECT first + x.n - 1, (x.e ->> 'audit_id')::bigint, hashes[x.n] FROM jsonb_array_elements(entries) WITH ORDINALITY AS x (e, n);
    UPDATE vault.seal_state SET size = first + cardinality(hashes), pending_xact = NULL;
    RETURN first + cardinality(hashes);
END $$;

-- The entry of a restore. For the administrator.
CREATE OR REPLACE FUNCTION vault.note_restore() RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    RETURN vault.note(vault.service_of('keeper'), vault.policy_in_force(), 18::smallint, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
END $$;
