-- The second step of a read: ciphertexts and wrapped keys, only for tickets that are committed rows of the same actor at the same door, at most
-- 10 s old. Fewer rows than tickets means that some were not such. State is looked at again: it may have changed since the ask.
-- `holders` names the secret of each ticket, from 1; without it each ticket has one of its own.
DROP FUNCTION IF EXISTS vault.take(bytea[], bigint[]);
CREATE OR REPLACE FUNCTION vault.take(secrets bytea[], tickets bigint[], holders int[] DEFAULT NULL) RETURNS TABLE (item int, subject uuid, record uuid, dataset smallint,
    kind smallint, epoch int, wrapped bytea, fields bigint, versions int[], ciphertexts bytea[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    here text := vault.door();
    pol int := vault.policy_in_force();
    -- Tickets are seconds old: partitions far behind the newest number, and those made ahead of it, are left out before the statement begins.
    newest bigint := pg_sequence_last_value('vault.audit_number'::regclass);
BEGIN
    PERFORM vault.flush_wal();
    RETURN QUERY
    WITH holder AS MATERIALIZED (
        SELECT h.k, s.actor FROM unnest(secrets) WITH ORDINALITY AS h (secret, k)
        JOIN vault.session s ON s.secret_hash = h.secret AND s.revoked_at IS NULL AND s.door = here
            AND s.expires_at > clock_timestamp() AND s.created_at <= clock_timestamp() + interval '5 seconds'
            AND s.usable
    )
    SELECT t.n::int, r.subject_id, r.record_id, r.dataset, k.kind, k.epoch, k.wrapped, a.fields & r.present,
        CASE WHEN r.present & ~a.fields = 0 THEN r.versions
             ELSE ARRAY(SELECT CASE WHEN (a.fields >> (o - 1)) & 1 = 1 THEN r.versions[o] END FROM generate_subscripts(r.versions, 1) o) END,
        CASE WHEN a.operation = 8 THEN NULL
             WHEN r.present & ~a.fields = 0 THEN r.ciphertexts
             ELSE ARRAY(SELECT CASE WHEN (a.fields >> (o - 1)) & 1 = 1 THEN r.ciphertexts[o] END FROM generate_subscripts(r.ciphertexts, 1) o) END
    FROM unnest(tickets, holders) WITH ORDINALITY AS t (ticket, holder, n)
    JOIN vault.audit a ON a.audit_id = t.ticket AND a.audit_id BETWEEN newest - 20000000 AND newest
    JOIN holder h ON h.k = coalesce(t.holder, t.n) AND h.actor = a.actor
    JOIN vault.subject j ON j.subject_id = a.subject
    JOIN vault.record r ON r.subject_id = a.subject AND r.dataset = a.dataset AND (a.record IS NULL OR r.record_id = a.record)
    JOIN vault.data_key k ON k.subject_id = r.subject_id AND k.record_id = r.record_id
    WHERE a.granted AND a.operation IN (1, 2, 8) AND a.door = here
      AND a.at BETWEEN clock_timestamp() - interval '10 seconds' AND clock_timestamp() + interval '1 second'
      AND pg_xact_status(a.xact) = 'committed'
      AND k.compartment = ANY (ARRAY(SELECT c.compartment FROM vault.door_compartment c WHERE c.policy_id = pol AND c.door = here AND c.mode = 'full'))
      AND (j.state = 'active' OR j.state = 'restricted' AND EXISTS (
            SELECT FROM vault.declared_purpose q WHERE q.policy_id = pol AND q.purpose = a.purpose AND q.while_restricted))
    ORDER BY t.n, r.created_at, r.record_id;
END $$;

DROP PROCEDURE IF EXISTS vault.fetch(bytea, smallint, smallint, text, uuid, smallint, bigint, jsonb);
DO $$ BEGIN
    IF to_regtype('vault.taken') IS NULL THEN
        CREATE TYPE vault.taken AS (item int, subject uuid, record uuid, dataset smallint, kind smallint, epoch int, wrapped bytea, fields bigint, versions int[], ciphertexts bytea[]);
    END IF;
END $$;

-- ask; COMMIT; take in one round trip. Procedures of the invoker: they carry no trust, and fail inside a transaction block. `tickets` and `verdicts` are by
-- item, `taken` is NULL when nothing was.
CREATE OR REPLACE PROCEDURE vault.read(secrets bytea[], whats smallint[], purposes smallint[], reasons smallint[], refs text[], subjects uuid[], records uuid[],
    datasets smallint[], masks bigint[], shapes int[], INOUT tickets bigint[] DEFAULT NULL, INOUT verdicts smallint[] DEFAULT NULL, INOUT taken vault.taken[] DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE granted bigint[]; holders int[];
BEGIN
    SELECT array_agg(a.ticket), array_agg(a.verdict), array_agg(a.ticket) FILTER (WHERE a.ticket IS NOT NULL), array_agg(shapes[a.item]) FILTER (WHERE a.ticket IS NOT NULL)
    INTO tickets, verdicts, granted, holders
    FROM vault.ask(secrets, whats, purposes, reasons, refs, subjects, records, datasets, masks, shapes) a;
    COMMIT;
    IF granted IS NOT NULL THEN
        SELECT array_agg(ROW (t.item, t.subject, t.record, t.dataset, t.kind, t.epoch, t.wrapped, t.fields, t.versions, t.ciphertexts)::vault.taken) INTO taken
        FROM vault.take(secrets, granted, holders) t;
    END IF;
END $$;

-- ask_find; COMMIT; take in one round trip.
CREATE OR REPLACE PROCEDURE vault.find(secret bytea, purpose smallint, reason smallint, ref text, dataset smallint, ordinal smallint, epochs int[], digests bytea[], mask bigint,
    items int[], INOUT tickets bigint[] DEFAULT NULL, INOUT taken vault.taken[] DEFAULT NULL)
LANGUAGE plpgsql AS $$
BEGIN
    SELECT array_agg(a.ticket) INTO tickets FROM vault.ask_find(secret, purpose, reason, ref, dataset, ordinal, epochs, digests, mask, items) a;
    COMMIT;
    -- Every item has a ticket or none has.
    IF tickets[1] IS NOT NULL THEN
        SELECT array_agg(ROW (t.item, t.subject, t.record, t.dataset, t.kind, t.epoch, t.wrapped, t.fields, t.versions, t.ciphertexts)::vault.taken) INTO taken
        FROM vault.take(ARRAY[secret], tickets, array_fill(1, ARRAY[cardinality(tickets)])) t;
    END IF;
END $$;
