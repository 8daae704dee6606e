-- Who acts, from where. Internal: no door may call these but `living`.

-- Whatever serves people plans for no values (`force_generic_plan`): any role may have plans printed (`debug_print_plan`), and one made for the values at hand
-- holds as constants what the function read for itself: the ciphertexts of a whole record, to whoever corrects one field of it and rolls back.

-- Both in PL/pgSQL, which keeps its plans: the same in SQL costs three times as much, in every call of the hot path.

-- The door is the role that signed in to the database; SET ROLE does not change session_user.
CREATE OR REPLACE FUNCTION vault.door() RETURNS text LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    RETURN CASE WHEN session_user LIKE 'armonika\_%' THEN substr(session_user::text, 10) ELSE 'administrator' END;
END $$;

-- Only in a transaction that sees what is committed: an older view, which its holder can keep for days, still has the token that was ended, the rule that
-- was taken away and the person before the lock. Everything that decides asks here first.
CREATE OR REPLACE FUNCTION vault.policy_in_force() RETURNS int LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    RETURN (SELECT p.policy_id FROM vault.policy_version p WHERE p.effective_from <= clock_timestamp() ORDER BY p.effective_from DESC LIMIT 1);
END $$;

-- The living session behind a secret at this door, or AR401. created_at in the future means the clock went back: fail closed. A session of staff without its
-- second factor is nobody here; only what enrols or proves it, names it (whoami) or ends it asks `signed_in`.
CREATE OR REPLACE FUNCTION vault.actor(secret bytea) RETURNS vault.session LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session;
BEGIN
    SELECT * INTO s FROM vault.session x WHERE x.secret_hash = secret AND x.revoked_at IS NULL AND x.door = vault.door()
        AND x.expires_at > clock_timestamp() AND x.created_at <= clock_timestamp() + interval '5 seconds'
        AND x.usable;
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'AR401', MESSAGE = 'no such session'; END IF;
    RETURN s;
END $$;

-- Those of the secrets behind which `actor` finds somebody: whose request's body a door reads at all. Everything that is then done asks `actor` again.
CREATE OR REPLACE FUNCTION vault.living(secrets bytea[]) RETURNS bytea[] LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE
SET search_path = pg_catalog, vault, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN coalesce((SELECT array_agg(x.secret_hash) FROM vault.session x WHERE x.secret_hash = ANY (secrets) AND x.revoked_at IS NULL AND x.door = vault.door()
        AND x.expires_at > clock_timestamp() AND x.created_at <= clock_timestamp() + interval '5 seconds'
        AND x.usable), '{}');
END $$;

-- The same as `actor`, also where the second factor is still missing.
CREATE OR REPLACE FUNCTION vault.signed_in(secret bytea) RETURNS vault.session LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session;
BEGIN
    SELECT * INTO s FROM vault.session x WHERE x.secret_hash = secret AND x.revoked_at IS NULL AND x.door = vault.door()
        AND x.expires_at > clock_timestamp() AND x.created_at <= clock_timestamp() + interval '5 seconds';
    IF NOT FOUND THEN RAISE EXCEPTION USING ERRCODE = 'AR401', MESSAGE = 'no such session'; END IF;
    RETURN s;
END $$;

-- A purpose with a reason declared for it, and a reference of the allowed shape, or AR422. That a period has passed is the retention job's word alone:
-- it ends nothing that is not due.
CREATE OR REPLACE FUNCTION vault.check_reason(policy int, asked_purpose smallint, asked_reason smallint, reference text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM vault.declared_reason r WHERE r.policy_id = policy AND r.reason = asked_reason AND r.purpose = asked_purpose
            AND (vault.door() = 'retention' OR r.reason IS DISTINCT FROM (SELECT x.id FROM vault.reason x WHERE x.name = 'retention'))) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'purpose or reason is not declared in the policy in force';
    END IF;
    IF reference !~ '^[A-Z]{1,8}-?[0-9]{1,12}$' THEN
        RAISE EXCEPTION USING ERRCODE = 'AR422', MESSAGE = 'a reference is up to 8 capital letters and up to 12 digits';
    END IF;
END $$;

-- Whether a token is wide enough for this. A session without bounds always is.
CREATE OR REPLACE FUNCTION vault.in_scope(s vault.session, asked_operation smallint, asked_purpose smallint, asked_dataset smallint) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT coalesce(asked_operation = ANY ((s).scope_operations), true) AND coalesce(asked_purpose = ANY ((s).scope_purposes), true)
        AND ((s).scope_compartments IS NULL OR EXISTS (SELECT FROM vault.dataset d WHERE d.id = asked_dataset AND d.compartment = ANY ((s).scope_compartments)))
$$;

-- Whether the policy lets this actor do this to these fields of a subject. One place for every write and for describe and accesses.
CREATE OR REPLACE FUNCTION vault.allowed(policy int, s vault.session, asked_operation smallint, asked_purpose smallint, asked_dataset smallint, mask bigint,
    whom uuid, whom_org uuid) RETURNS boolean LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT vault.in_scope(s, asked_operation, asked_purpose, asked_dataset) AND EXISTS (
        SELECT FROM vault.rule r
        WHERE r.policy_id = policy AND r.role = (s).role AND r.purpose = asked_purpose AND r.dataset = asked_dataset AND r.operation = asked_operation
          AND mask & ~r.fields = 0
          AND CASE r.scope WHEN 'all' THEN true WHEN 'own' THEN whom = (s).actor ELSE (s).org_id IS NOT NULL AND whom_org = (s).org_id END)
$$;

-- One audit row. Returns its number. The transaction id is taken first, so that numbers and transactions settle in step (sealing).
CREATE OR REPLACE FUNCTION vault.note(s vault.session, policy int, what smallint, was_granted boolean, whom uuid, which uuid, of_dataset smallint, mask bigint,
    for_purpose smallint, for_reason smallint, with_reference text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE tx xid8 := pg_current_xact_id(); n bigint;
BEGIN
    n := nextval('vault.audit_number');
    INSERT INTO vault.audit (audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, purpose, reason, reference, policy_id)
    VALUES (n, clock_timestamp(), tx, what, was_granted, vault.door(), (s).actor, (s).role, whom, which, of_dataset, mask, for_purpose, for_reason, with_reference, policy);
    IF vault.door() = 'administrator' THEN PERFORM vault.tell_administrator(ARRAY[n]); END IF;
    RETURN n;
END $$;
