-- The compiled policy in the database. Installing is for the administrator alone (no door has EXECUTE).
CREATE OR REPLACE FUNCTION vault.id_of(which text, wanted text, extra text DEFAULT NULL) RETURNS smallint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE found smallint;
BEGIN
    IF which = 'role' THEN
        SELECT id INTO found FROM vault.role WHERE name = wanted;
        IF found IS NULL THEN
            INSERT INTO vault.role SELECT coalesce(max(id), 0) + 1, wanted, extra FROM vault.role RETURNING id INTO found;
        END IF;
    ELSIF which = 'purpose' THEN
        SELECT id INTO found FROM vault.purpose WHERE name = wanted;
        IF found IS NULL THEN INSERT INTO vault.purpose SELECT coalesce(max(id), 0) + 1, wanted FROM vault.purpose RETURNING id INTO found; END IF;
    ELSIF which = 'reason' THEN
        SELECT id INTO found FROM vault.reason WHERE name = wanted;
        IF found IS NULL THEN INSERT INTO vault.reason SELECT coalesce(max(id), 0) + 1, wanted FROM vault.reason RETURNING id INTO found; END IF;
    ELSE
        SELECT id INTO found FROM vault.compartment WHERE name = wanted;
        IF found IS NULL THEN INSERT INTO vault.compartment SELECT coalesce(max(id), 0) + 1, wanted FROM vault.compartment RETURNING id INTO found; END IF;
    END IF;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION vault.mask_of(of_dataset smallint, names jsonb) RETURNS bigint
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT coalesce(bit_or(1::bigint << (f.ordinal - 1)), 0) FROM jsonb_array_elements_text(coalesce(names, '[]')) n
    JOIN vault.field f ON f.dataset = of_dataset AND f.name = n
$$;

-- Installs one compiled policy (armonika.policy, `catalogue`). Returns its id; the same sha256 again changes nothing.
CREATE OR REPLACE FUNCTION vault.install_policy(given jsonb) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    pol int; d jsonb; f text; r jsonb; ds smallint; pu smallint;
BEGIN
    PERFORM FROM vault.seal_state FOR UPDATE;
    SELECT policy_id INTO pol FROM vault.policy_version WHERE sha256 = given ->> 'sha256';
    IF FOUND THEN RETURN pol; END IF;
    SELECT coalesce(max(policy_id), 0) + 1 INTO pol FROM vault.policy_version;
    INSERT INTO vault.policy_version (policy_id, version, effective_from, sha256, document, catalogue)
        VALUES (pol, given ->> 'version', (given ->> 'effective_from')::timestamptz, given ->> 'sha256', given ->> 'document', given - 'document');
    PERFORM vault.id_of('compartment', c) FROM jsonb_array_elements_text(given -> 'compartments') c;
    FOR d IN SELECT * FROM jsonb_array_elements(given -> 'datasets') LOOP
        SELECT id INTO ds FROM vault.dataset WHERE name = d ->> 'name';
        IF ds IS NULL THEN
            INSERT INTO vault.dataset SELECT coalesce(max(id), 0) + 1, d ->> 'name', vault.id_of('compartment', d ->> 'compartment') FROM vault.dataset RETURNING id INTO ds;
        ELSIF NOT EXISTS (SELECT FROM vault.dataset x JOIN vault.compartment c ON c.id = x.compartment WHERE x.id = ds AND c.name = d ->> 'compartment') THEN
            RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'a dataset cannot move to another compartment: declare a new one';
        END IF;
        FOR f IN SELECT * FROM jsonb_array_elements_text(d -> 'fields') LOOP
            INSERT INTO vault.field SELECT ds, (SELECT coalesce(max(ordinal), 0) + 1 FROM vault.field WHERE dataset = ds), f
                WHERE NOT EXISTS (SELECT FROM vault.field x WHERE x.dataset = ds AND x.name = f);
        END LOOP;
        INSERT INTO vault.declared_field VALUES (pol, ds, vault.mask_of(ds, d -> 'fields'), vault.mask_of(ds, d -> 'unique'), vault.mask_of(ds, d -> 'indexed'));
        INSERT INTO vault.declared_retention (policy_id, dataset, class, days, starts, locked, zone)
            SELECT pol, ds, x ->> 'class', (x ->> 'days')::int, x ->> 'starts', (x ->> 'locked')::boolean, given ->> 'time_zone'
            FROM jsonb_array_elements(coalesce(d -> 'retention', '[]')) x;
    END LOOP;
    INSERT INTO vault.declared_purpose SELECT pol, vault.id_of('purpose', p), coalesce(given -> 'while_restricted', '["legal"]') ? p
        FROM jsonb_array_elements_text(given -> 'purposes') p;
    PERFORM vault.id_of('role', x ->> 'name', x ->> 'kind') FROM jsonb_array_elements(given -> 'roles') x;
    INSERT INTO vault.declared_reason SELECT pol, vault.id_of('reason', x ->> 'name'), vault.id_of('purpose', p)
        FROM jsonb_array_elements(given -> 'reasons') x, jsonb_array_elements_text(x -> 'purposes') p;
    INSERT INTO vault.door_compartment SELECT pol, x ->> 'door', vault.id_of('compartment', x ->> 'compartment'), x ->> 'mode'
        FROM jsonb_array_elements(given -> 'doors') x;
    FOR r IN SELECT * FROM jsonb_array_elements(given -> 'rules') LOOP
        SELECT id INTO ds FROM vault.dataset WHERE name = r ->> 'dataset';
        INSERT INTO vault.rule SELECT pol, vault.id_of('role', r ->> 'role'), vault.id_of('purpose', r ->> 'purpose'), ds, o.id, r ->> 'scope', vault.mask_of(ds, r -> 'fields')
            FROM vault.operation o WHERE o.name = replace(r ->> 'operation', '_', '-')
            ON CONFLICT (policy_id, role, purpose, dataset, operation, scope) DO UPDATE SET fields = vault.rule.fields | excluded.fields;
    END LOOP;
    RETURN pol;
END $$;

-- What a door needs to speak of names: ids of the policy in force. Holds nothing personal.
CREATE OR REPLACE FUNCTION vault.catalogue() RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT jsonb_build_object(
        'policy_id', p.policy_id, 'sha256', p.sha256, 'version', p.version,
        'compartments', (SELECT jsonb_object_agg(name, id) FROM vault.compartment),
        'datasets', (SELECT jsonb_object_agg(d.name, jsonb_build_object('id', d.id, 'compartment', c.name,
            'fields', (SELECT jsonb_object_agg(f.name, f.ordinal) FROM vault.field f WHERE f.dataset = d.id AND (x.fields >> (f.ordinal - 1)) & 1 = 1),
            'unique', vault.field_names(d.id, x.unique_fields), 'indexed', vault.field_names(d.id, x.indexed_fields)))
            FROM vault.declared_field x JOIN vault.dataset d ON d.id = x.dataset JOIN vault.compartment c ON c.id = d.compartment WHERE x.policy_id = p.policy_id),
        'purposes', (SELECT jsonb_object_agg(name, id) FROM vault.purpose JOIN vault.declared_purpose q ON q.purpose = id AND q.policy_id = p.policy_id),
        'reasons', (SELECT jsonb_object_agg(name, id) FROM vault.reason WHERE EXISTS (SELECT FROM vault.declared_reason q WHERE q.reason = id AND q.policy_id = p.policy_id)),
        'epochs', (SELECT coalesce(jsonb_object_agg(x.name, jsonb_build_object('active', x.active, 'indexing', x.indexing)), '{}') FROM (
            SELECT c.name, max(e.epoch) FILTER (WHERE e.state = 'active') AS active, jsonb_agg(e.epoch ORDER BY e.epoch) FILTER (WHERE e.state IN ('active', 'suspended', 'retiring')) AS indexing
            FROM vault.epoch e JOIN vault.compartment c ON c.id = e.compartment GROUP BY c.name) x),
        'operations', (SELECT jsonb_object_agg(name, id) FROM vault.operation))
    FROM vault.policy_version p WHERE p.policy_id = vault.policy_in_force()
$$;

CREATE OR REPLACE FUNCTION vault.policies() RETURNS TABLE (version text, effective_from timestamptz, sha256 text, in_force boolean)
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT p.version, p.effective_from, p.sha256, p.policy_id = vault.policy_in_force() FROM vault.policy_version p
    WHERE p.effective_from <= clock_timestamp() ORDER BY p.effective_from DESC
$$;

CREATE OR REPLACE FUNCTION vault.policy_document(wanted text) RETURNS text
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT p.document FROM vault.policy_version p WHERE p.sha256 = wanted AND p.effective_from <= clock_timestamp()
$$;

CREATE OR REPLACE FUNCTION vault.trust_report() RETURNS jsonb
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT r.report || jsonb_build_object('published_at', r.at) FROM vault.trust_report r ORDER BY r.report_id DESC LIMIT 1
$$;

CREATE OR REPLACE FUNCTION vault.publish_trust_report(service bytea, new_report jsonb) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE s vault.session := vault.actor(service); made bigint;
BEGIN
    IF vault.door() <> 'verifier' THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    INSERT INTO vault.trust_report (report) VALUES (new_report) RETURNING report_id INTO made;
    PERFORM vault.note(s, vault.policy_in_force(), 15::smallint, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
    RETURN made;
END $$;

-- Narrows a token that was just installed. Unknown names are AR422. For the administrator.
CREATE OR REPLACE FUNCTION vault.narrow_token(hash bytea, compartments text[], purposes text[], operations text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE c smallint[] := ARRAY(SELECT id FROM vault.compartment WHERE name = ANY (compartments)); p smallint[] := ARRAY(SELECT id FROM vault.purpose WHERE name = ANY (purposes));
    o smallint[] := ARRAY(SELECT id FROM vault.operation WHERE name = ANY (operations));
BEGIN
    IF cardinality(c) <> coalesce(cardinality(compartments), 0) OR cardinality(p) <> coalesce(cardinality(purposes), 0) OR cardinality(o) <> coalesce(cardinality(operations), 0) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'no such compartment, purpose or operation';
    END IF;
    UPDATE vault.session SET scope_compartments = CASE WHEN compartments IS NOT NULL THEN c END, scope_purposes = CASE WHEN purposes IS NOT NULL THEN p END,
        scope_operations = CASE WHEN operations IS NOT NULL THEN o END WHERE secret_hash = hash AND kind = 'token';
END $$;

-- Secrets of doors and tokens of the machine API, made by the administrator (only hashes arrive here).
CREATE OR REPLACE FUNCTION vault.install_session(new_hash bytea, new_actor uuid, role_name text, new_door text, new_kind text, ttl interval, new_label text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session;
BEGIN
    IF new_kind = 'service' THEN
        UPDATE vault.session SET revoked_at = clock_timestamp() WHERE kind = 'service' AND door = new_door AND secret_hash <> new_hash AND revoked_at IS NULL;
    END IF;
    -- Staff sign in themselves, with a second factor: no token stands for a person.
    INSERT INTO vault.session (secret_hash, actor, role, door, kind, expires_at, label)
        SELECT new_hash, new_actor, r.id, new_door, new_kind, clock_timestamp() + ttl, new_label FROM vault.role r WHERE r.name = role_name AND r.kind <> 'staff'
        ON CONFLICT (secret_hash) DO UPDATE SET expires_at = excluded.expires_at, role = excluded.role
        RETURNING * INTO s;
    IF s.secret_hash IS NULL THEN RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'no such role in the policy'; END IF;
    PERFORM vault.note(s, vault.policy_in_force(), 12::smallint, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, NULL);
END $$;
