-- A page of rows that have no leaf, by the index of numbers and row by row, whatever the server knows of the tables: while it did not know them, or thought a
-- third of them were asked for, each page was planned to look at all of both. Internal.
CREATE OR REPLACE FUNCTION vault.waiting(behind bigint, most int) RETURNS TABLE (audit_id bigint, at timestamptz, operation smallint, granted boolean, door text, actor uuid,
    role smallint, subject uuid, record uuid, dataset smallint, fields bigint, purpose smallint, reason smallint, reference text, policy_id int)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 10000 SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off AS $$
BEGIN
    RETURN QUERY SELECT a.audit_id, a.at, a.operation, a.granted, a.door, a.actor, a.role, a.subject, a.record, a.dataset, a.fields, a.purpose, a.reason, a.reference, a.policy_id
        FROM vault.audit a WHERE a.audit_id > behind AND NOT EXISTS (SELECT FROM vault.leaf l WHERE l.audit_id = a.audit_id)
        ORDER BY a.audit_id LIMIT least(most, 100000);
END $$;

-- For the sealer: what is committed and not in the tree yet, and the numbering. Nothing waits for a transaction held open elsewhere.
-- `after`: what follows a page that is not sealed yet; what was late to come before it is for a page without.
DROP FUNCTION IF EXISTS vault.unsealed(int);
CREATE OR REPLACE FUNCTION vault.unsealed(most int, after bigint DEFAULT NULL) RETURNS TABLE (audit_id bigint, at timestamptz, operation text, outcome text, door text,
    actor uuid, actor_role text, subject uuid, record uuid, dataset text, fields text[], purpose text, reason text, reference text, policy text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE st vault.seal_state;
BEGIN
    IF after IS NULL THEN
        st := vault.settle(most);
    ELSE
        SELECT * INTO st FROM vault.seal_state;
    END IF;
    -- The names of a set of fields are looked up once a set, not once a row.
    RETURN QUERY
    WITH waiting AS MATERIALIZED (
        SELECT * FROM vault.waiting(greatest(st.settled, after), most)
    ), named AS MATERIALIZED (
        SELECT x.of_dataset, x.mask, vault.field_names(x.of_dataset, x.mask) AS names
        FROM (SELECT DISTINCT coalesce(w.dataset, 0::smallint) AS of_dataset, w.fields AS mask FROM waiting w) x
    )
    SELECT a.audit_id, a.at, o.name, CASE WHEN a.granted THEN 'granted' ELSE 'refused' END, a.door, a.actor, r.name, a.subject, a.record, d.name,
        n.names, p.name, c.name, a.reference, v.sha256
    FROM waiting a JOIN named n ON n.of_dataset = coalesce(a.dataset, 0::smallint) AND n.mask = a.fields
    JOIN vault.operation o ON o.id = a.operation JOIN vault.role r ON r.id = a.role JOIN vault.policy_version v ON v.policy_id = a.policy_id
    LEFT JOIN vault.dataset d ON d.id = a.dataset LEFT JOIN vault.purpose p ON p.id = a.purpose LEFT JOIN vault.reason c ON c.id = a.reason
    ORDER BY a.audit_id;
END $$;

-- Up to which number everything is sealed, so that nobody looks there again. Internal.
CREATE OR REPLACE FUNCTION vault.settle(most int) RETURNS vault.seal_state
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off AS $$
DECLARE st vault.seal_state; upto bigint;
BEGIN
    -- Who draws a number has an id before it. So what is there is looked at before this transaction has one: numbers up to `upto` belong to ids before its own.
    -- Of a backlog one page at a time: what is sealed of it is passed over from the next page on. What was sealed while a transaction was open for long is
    -- passed over at once when it has ended.
    SELECT * INTO st FROM vault.seal_state;
    IF pg_current_xact_id_if_assigned() IS NULL THEN
        upto := greatest(st.pending, (SELECT max(l.audit_id) FROM vault.leaf l),
            (SELECT max(x.audit_id) FROM (SELECT a.audit_id FROM vault.audit a WHERE a.audit_id > st.pending ORDER BY a.audit_id LIMIT least(most, 100000)) x));
    END IF;
    -- Numbers up to `pending` belong to ids before `pending_xact` (NULL: none is waited for): once all of those ended, what is not there never comes.
    SELECT * INTO st FROM vault.seal_state FOR UPDATE;
    IF pg_snapshot_xmin(pg_current_snapshot()) >= st.pending_xact
       AND NOT EXISTS (SELECT FROM vault.audit a LEFT JOIN vault.leaf l ON l.audit_id = a.audit_id
                       WHERE a.audit_id > st.settled AND a.audit_id <= st.pending AND l.audit_id IS NULL) THEN
        UPDATE vault.seal_state SET settled = st.pending, pending_xact = NULL RETURNING * INTO st;
    END IF;
    IF st.pending_xact IS NULL AND upto IS NOT NULL THEN
        UPDATE vault.seal_state SET pending_xact = pg_current_xact_id(), pending = greatest(st.settled, upto);
    END IF;
    RETURN st;
END $$;

CREATE OR REPLACE FUNCTION vault.append_leaves(first bigint, audit_ids bigint[], hashes bytea[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE st vault.seal_state;
BEGIN
    SELECT * INTO st FROM vault.seal_state FOR UPDATE;
    IF st.size <> first OR cardinality(audit_ids) <> cardinality(hashes) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'the tree has another size: another sealer is at work';
    END IF;
    INSERT INTO vault.leaf (leaf_no, audit_id, leaf_hash) SELECT first + x.n - 1, x.id, x.h FROM unnest(audit_ids, hashes) WITH ORDINALITY AS x (id, h, n);
    UPDATE vault.seal_state SET size = first + cardinality(audit_ids);
    RETURN first + cardinality(audit_ids);
EXCEPTION WHEN unique_violation THEN RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'an entry has a leaf already';
END $$;

CREATE OR REPLACE FUNCTION vault.tree_size() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$ SELECT size FROM vault.seal_state $$;

CREATE OR REPLACE FUNCTION vault.leaves(from_no bigint, most int) RETURNS TABLE (leaf_no bigint, leaf_hash bytea, audit_id bigint, at timestamptz, operation text,
    outcome text, door text, actor uuid, actor_role text, subject uuid, record uuid, dataset text, fields text[], purpose text, reason text, reference text, policy text)
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_mergejoin = off SET jit = off AS $$
    SELECT l.leaf_no, l.leaf_hash, a.audit_id, a.at, o.name, CASE WHEN a.granted THEN 'granted' ELSE 'refused' END, a.door, a.actor, r.name, a.subject, a.record,
        d.name, vault.field_names(a.dataset, a.fields), p.name, c.name, a.reference, v.sha256
    FROM vault.leaf l LEFT JOIN vault.audit a ON a.audit_id = l.audit_id LEFT JOIN vault.operation o ON o.id = a.operation LEFT JOIN vault.role r ON r.id = a.role
    LEFT JOIN vault.policy_version v ON v.policy_id = a.policy_id LEFT JOIN vault.dataset d ON d.id = a.dataset LEFT JOIN vault.purpose p ON p.id = a.purpose
    LEFT JOIN vault.reason c ON c.id = a.reason
    WHERE l.leaf_no >= from_no AND l.leaf_no < from_no + least(most, 100000) ORDER BY l.leaf_no
$$;
