-- Rotation of keys. The administrator changes epochs; the keeper moves rows; every door learns from `catalogue` which epoch it writes.

-- Makes the first epoch of a compartment known, or confirms what is known. For the administrator.
CREATE OR REPLACE FUNCTION vault.install_epoch(name_of text, number int) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE c smallint := (SELECT id FROM vault.compartment WHERE name = name_of);
BEGIN
    IF c IS NULL OR EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = c) THEN RETURN false; END IF;
    INSERT INTO vault.epoch (compartment, epoch, state) VALUES (c, number, 'active');
    RETURN true;
END $$;

-- The entry of a change of keys: who is the keeper's service actor, the reference names compartment and epoch (KEY-<compartment><epoch, five digits>).
CREATE OR REPLACE FUNCTION vault.note_key(what smallint, c smallint, number int) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    RETURN vault.note(vault.service_of('keeper'), vault.policy_in_force(), what, true, NULL, NULL, NULL, 0, 0::smallint, 0::smallint, format('KEY-%s%s', c, lpad(number::text, 5, '0')));
END $$;

-- From now on `number` is written; the epoch before it retires. The same again changes nothing. For the administrator.
CREATE OR REPLACE FUNCTION vault.activate_epoch(name_of text, number int) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE c smallint := (SELECT id FROM vault.compartment WHERE name = name_of);
BEGIN
    PERFORM FROM vault.rotation FOR UPDATE;
    IF c IS NULL OR EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = c AND e.epoch = number AND e.state = 'active') THEN RETURN false; END IF;
    IF EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = c AND e.epoch > number) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'a later epoch was active already';
    END IF;
    UPDATE vault.epoch e SET state = 'retiring', changed_at = clock_timestamp(), changed_xact = pg_current_xact_id()
        WHERE e.compartment = c AND e.state IN ('active', 'suspended');
    INSERT INTO vault.epoch (compartment, epoch, state) VALUES (c, number, 'active')
        ON CONFLICT (compartment, epoch) DO UPDATE SET state = 'active', changed_at = clock_timestamp(), changed_xact = pg_current_xact_id();
    UPDATE vault.rotation t SET after_subject = DEFAULT, after_record = DEFAULT, moved = 0, redigested = 0, started_at = clock_timestamp(),
        total = (SELECT count(*) FROM vault.data_key k JOIN vault.epoch e ON e.compartment = k.compartment AND e.epoch = k.epoch AND e.state = 'retiring'
                 WHERE vault.keeps(t.door, k.compartment));
    PERFORM vault.note_key(17::smallint, c, number);
    RETURN true;
END $$;

-- Nothing is written under a suspended or compromised epoch until it is active again or another one is. For the administrator.
CREATE OR REPLACE FUNCTION vault.suspend_epoch(name_of text, number int) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE c smallint := (SELECT id FROM vault.compartment WHERE name = name_of);
BEGIN
    UPDATE vault.epoch e SET state = 'suspended', changed_at = clock_timestamp(), changed_xact = pg_current_xact_id()
        WHERE e.compartment = c AND e.epoch = number AND e.state = 'active';
    IF NOT FOUND THEN RETURN false; END IF;
    PERFORM vault.note_key(19::smallint, c, number);
    RETURN true;
END $$;

-- The entry of a destruction, made before the key goes. Refused while anything is left under the epoch. For the administrator.
CREATE OR REPLACE FUNCTION vault.note_destruction(name_of text, number int) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE c smallint := (SELECT id FROM vault.compartment WHERE name = name_of);
BEGIN
    IF EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = c AND e.epoch = number AND e.state <> 'retired')
       OR EXISTS (SELECT FROM vault.data_key k WHERE k.compartment = c AND k.epoch = number) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR409', MESSAGE = 'living data is still under this epoch: rotate first';
    END IF;
    RETURN vault.note_key(21::smallint, c, number);
END $$;

CREATE OR REPLACE FUNCTION vault.pause_rotation(stop boolean) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    UPDATE vault.rotation SET paused = stop
$$;

CREATE OR REPLACE FUNCTION vault.keeps(which text, c smallint) RETURNS boolean
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT EXISTS (SELECT FROM vault.door_compartment x WHERE x.policy_id = vault.policy_in_force() AND x.door = which AND x.compartment = c AND x.mode = 'full')
$$;

-- The compartments that the calling keeper holds. Internal.
CREATE OR REPLACE FUNCTION vault.kept_compartments() RETURNS smallint[]
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT ARRAY(SELECT x.compartment FROM vault.door_compartment x WHERE x.policy_id = vault.policy_in_force() AND x.door = vault.door() AND x.mode = 'full')
$$;

-- Every epoch and how far the rotation is: for the keeper, the inventory and the administrator. No key.
CREATE OR REPLACE FUNCTION vault.epochs() RETURNS TABLE (compartment text, epoch int, state text, changed_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT c.name, e.epoch, e.state, e.changed_at FROM vault.epoch e JOIN vault.compartment c ON c.id = e.compartment ORDER BY c.name, e.epoch
$$;
CREATE OR REPLACE FUNCTION vault.rotation_state() RETURNS TABLE (paused boolean, moved bigint, total bigint, redigested bigint, retiring bigint)
LANGUAGE sql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
    SELECT bool_or(r.paused), sum(r.moved)::bigint, sum(r.total)::bigint, sum(r.redigested)::bigint,
        (SELECT count(*) FROM vault.epoch e WHERE e.state IN ('retiring', 'emptied') AND (vault.door() NOT IN ('keeper', 'timpani') OR vault.keeps(vault.door(), e.compartment)))
    FROM vault.rotation r WHERE vault.door() NOT IN ('keeper', 'timpani') OR r.door = vault.door()
$$;

-- The next page of data keys that are still under a retiring epoch, by their index, whatever the server knows of the table. A wrapped key without its ciphertext tells nothing of anybody.
CREATE OR REPLACE FUNCTION vault.stale_keys(service bytea, most int) RETURNS TABLE (subject uuid, record uuid, compartment text, old_epoch int, new_epoch int, kind smallint, wrapped bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off SET jit = off AS $$
DECLARE r vault.rotation;
BEGIN
    PERFORM vault.only_keeper(service);
    SELECT * INTO r FROM vault.rotation x WHERE x.door = vault.door();
    IF r.paused OR NOT EXISTS (SELECT FROM vault.epoch x WHERE x.state = 'retiring') THEN RETURN; END IF;
    RETURN QUERY
    SELECT k.subject_id, k.record_id, c.name, k.epoch, n.epoch, k.kind, k.wrapped
    FROM vault.data_key k JOIN vault.epoch e ON e.compartment = k.compartment AND e.epoch = k.epoch AND e.state = 'retiring'
    JOIN vault.epoch n ON n.compartment = k.compartment AND n.state = 'active' JOIN vault.compartment c ON c.id = k.compartment
    WHERE (k.subject_id, k.record_id) > (r.after_subject, r.after_record)
      AND k.compartment IN (SELECT x.compartment FROM vault.door_compartment x WHERE x.policy_id = vault.policy_in_force() AND x.door = vault.door() AND x.mode = 'full')
    ORDER BY k.subject_id, k.record_id LIMIT least(most, 10000);
END $$;

CREATE OR REPLACE FUNCTION vault.only_keeper(service bytea) RETURNS vault.session
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE s vault.session := vault.actor(service);
BEGIN
    IF s.kind <> 'service' OR vault.door() NOT IN ('keeper', 'timpani') THEN RAISE EXCEPTION USING ERRCODE = 'AR403', MESSAGE = 'not allowed'; END IF;
    RETURN s;
END $$;

-- Writes a page of re-wrapped keys and moves the cursor with it, in one transaction. A key that was destroyed meanwhile stays destroyed. Only of compartments that
-- this keeper holds and of epochs that retire: a page of anything else would be a way to spoil the keys of somebody else's records.
CREATE OR REPLACE FUNCTION vault.rewrap(service bytea, subjects uuid[], records uuid[], old_epochs int[], new_epochs int[], new_keys bytea[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE done int; mine smallint[];
BEGIN
    PERFORM vault.only_keeper(service);
    mine := vault.kept_compartments();
    PERFORM FROM vault.rotation x WHERE x.door = vault.door() FOR UPDATE;
    -- In the order in which an erasure of several locks them.
    PERFORM FROM unnest(subjects, records) AS i (subject, record) JOIN vault.data_key k ON k.subject_id = i.subject AND k.record_id = i.record
        WHERE k.compartment = ANY (mine) ORDER BY k.subject_id, k.record_id FOR UPDATE OF k;
    UPDATE vault.data_key k SET epoch = i.new_epoch, kind = 1, wrapped = i.wrapped
    FROM unnest(subjects, records, old_epochs, new_epochs, new_keys) AS i (subject, record, old_epoch, new_epoch, wrapped)
    WHERE k.subject_id = i.subject AND k.record_id = i.record AND k.epoch = i.old_epoch AND k.compartment = ANY (mine)
      AND EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = k.compartment AND e.epoch = i.old_epoch AND e.state = 'retiring')
      AND EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = k.compartment AND e.epoch = i.new_epoch AND e.state = 'active');
    GET DIAGNOSTICS done = ROW_COUNT;
    UPDATE vault.rotation SET moved = moved + done, after_subject = subjects[cardinality(subjects)], after_record = records[cardinality(records)]
        WHERE door = vault.door();
    RETURN done;
END $$;

-- Look-ups of a retiring epoch that have none of the new one yet: whose they are, never the value. The keeper then reads the value as
-- everybody does, by ask and take, with its purpose and an entry. A chunk at a time in the order of the index, whatever the server knows of the table: one
-- statement over all of them was planned, where statistics were lost with a crash, to look at everything that was left for each page.
CREATE OR REPLACE FUNCTION vault.stale_lookups(service bytea, after_dataset smallint, after_ordinal smallint, after_epoch int, after_digest bytea, most int)
RETURNS TABLE (dataset smallint, ordinal smallint, old_epoch int, digest bytea, subject uuid, record uuid, new_epoch int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp
SET enable_seqscan = off SET jit = off AS $$
DECLARE w record; behind bytea; page int := least(greatest(most, 1), 10000); given int; left_over int := page;
BEGIN
    PERFORM vault.only_keeper(service);
    IF (SELECT r.paused FROM vault.rotation r WHERE r.door = vault.door()) THEN RETURN; END IF;
    FOR w IN SELECT f.dataset, f.ordinal, e.epoch AS old, n.epoch AS new
             FROM vault.epoch e JOIN vault.epoch n ON n.compartment = e.compartment AND n.state = 'active' JOIN vault.dataset d ON d.compartment = e.compartment
             JOIN vault.field f ON f.dataset = d.id
             WHERE e.state = 'retiring' AND vault.keeps(vault.door(), d.compartment) AND (f.dataset, f.ordinal, e.epoch) >= (after_dataset, after_ordinal, after_epoch)
             ORDER BY f.dataset, f.ordinal, e.epoch LOOP
        behind := CASE WHEN (w.dataset, w.ordinal, w.old) = (after_dataset, after_ordinal, after_epoch) THEN after_digest ELSE '' END;
        WHILE behind IS NOT NULL LOOP
            RETURN QUERY
            WITH chunk AS MATERIALIZED (
                SELECT l.digest, l.subject_id, l.record_id FROM vault.lookup l
                WHERE l.dataset = w.dataset AND l.ordinal = w.ordinal AND l.epoch = w.old AND l.digest > behind ORDER BY l.digest LIMIT page)
            SELECT w.dataset, w.ordinal, w.old, c.digest, c.subject_id, c.record_id, w.new FROM chunk c
            WHERE (SELECT count(*) FROM vault.lookup x WHERE x.subject_id = c.subject_id AND x.record_id = c.record_id
                AND x.dataset + 0 = w.dataset AND x.ordinal + 0 = w.ordinal AND x.epoch + 0 = w.new) = 0 ORDER BY c.digest LIMIT left_over;
            GET DIAGNOSTICS given = ROW_COUNT;
            left_over := left_over - given;
            IF left_over = 0 THEN RETURN; END IF;
            -- The last one, and not max(): PostgreSQL has max(bytea) from 18 on alone.
            behind := (SELECT c.digest FROM (SELECT l.digest FROM vault.lookup l
                WHERE l.dataset = w.dataset AND l.ordinal = w.ordinal AND l.epoch = w.old AND l.digest > behind ORDER BY l.digest LIMIT page) c
                ORDER BY c.digest DESC LIMIT 1);
        END LOOP;
    END LOOP;
END $$;

-- Adds the digests of the new epoch, only where the old digest still stands: a value corrected meanwhile has its new digest already. From a retiring epoch to the
-- active one, of compartments that this keeper holds: nobody else's address is taken in anybody's name.
CREATE OR REPLACE FUNCTION vault.redigest(service bytea, datasets smallint[], ordinals smallint[], subjects uuid[], records uuid[], old_epochs int[], old_digests bytea[],
    new_epochs int[], new_digests bytea[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE done int; mine smallint[];
BEGIN
    PERFORM vault.only_keeper(service);
    mine := vault.kept_compartments();
    -- The record before its look-ups, as an erasure and a correction do: the new look-ups need it, and these may be ending it.
    PERFORM FROM unnest(subjects, records) AS i (subject, record) JOIN vault.record r ON r.subject_id = i.subject AND r.record_id = i.record
        ORDER BY r.subject_id, r.record_id FOR KEY SHARE OF r;
    WITH given AS (
        SELECT * FROM unnest(datasets, ordinals, subjects, records, old_epochs, old_digests, new_epochs, new_digests)
            AS i (dataset, ordinal, subject, record, old_epoch, old_digest, new_epoch, new_digest)
    ), held AS MATERIALIZED (
        SELECT l.dataset, l.ordinal, l.subject_id, l.record_id, l.sole, g.new_epoch, g.new_digest
        FROM given g JOIN vault.lookup l ON l.dataset = g.dataset AND l.ordinal = g.ordinal AND l.epoch = g.old_epoch AND l.digest = g.old_digest
            AND l.subject_id = g.subject AND l.record_id = g.record
        JOIN vault.dataset d ON d.id = l.dataset AND d.compartment = ANY (mine)
        JOIN vault.epoch o ON o.compartment = d.compartment AND o.epoch = g.old_epoch AND o.state = 'retiring'
        JOIN vault.epoch n ON n.compartment = d.compartment AND n.epoch = g.new_epoch AND n.state = 'active'
        FOR UPDATE OF l
    )
    INSERT INTO vault.lookup (dataset, ordinal, epoch, digest, subject_id, record_id, sole)
        SELECT h.dataset, h.ordinal, h.new_epoch, h.new_digest, h.subject_id, h.record_id, h.sole FROM held h ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS done = ROW_COUNT;
    UPDATE vault.rotation SET redigested = redigested + done WHERE door = vault.door();
    RETURN done;
END $$;

-- Moves epochs on when nothing is left to do for them: retiring -> emptied -> retired, each only when every transaction that could still write
-- the one before has ended. Returns how many moved; when rows came in behind the cursor it goes back to the start.
-- A writer has its number before it looks at the epochs. So a call that sees a change and is given its own number after that look has one above them all, and a
-- later call goes on when no lower one is left. The number of the change itself is too low: who began while it was being made has a higher one, and did not see it.
CREATE OR REPLACE FUNCTION vault.settle_epochs(service bytea) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
DECLARE
    e vault.epoch; moved_on int := 0; oldest xid8;
    first boolean := pg_current_xact_id_if_assigned() IS NULL;
    seen vault.epoch[]; bound xid8;
BEGIN
    PERFORM vault.only_keeper(service);
    seen := ARRAY(SELECT x FROM vault.epoch x WHERE x.state IN ('retiring', 'emptied'));
    bound := pg_current_xact_id();
    PERFORM FROM vault.rotation FOR UPDATE;
    oldest := pg_snapshot_xmin(pg_current_snapshot());
    FOR e IN SELECT * FROM vault.epoch x WHERE x.state IN ('retiring', 'emptied') AND vault.keeps(vault.door(), x.compartment) ORDER BY x.compartment, x.epoch FOR UPDATE LOOP
        -- In a database that was moved to another server by its content, transactions count anew.
        IF e.waits_for IS NULL OR e.waits_for < e.changed_xact OR e.waits_for > bound THEN
            IF first AND e = ANY (seen) THEN
                UPDATE vault.epoch x SET waits_for = bound, changed_xact = least(e.changed_xact, bound) WHERE x.compartment = e.compartment AND x.epoch = e.epoch;
            END IF;
            CONTINUE;
        ELSIF e.waits_for >= oldest THEN
            CONTINUE;
        END IF;
        IF EXISTS (SELECT FROM vault.data_key k WHERE k.compartment = e.compartment AND k.epoch = e.epoch) THEN
            UPDATE vault.rotation SET after_subject = DEFAULT, after_record = DEFAULT WHERE door = vault.door();
        ELSIF e.state = 'retiring' THEN
            IF NOT EXISTS (SELECT FROM vault.lookup l JOIN vault.dataset d ON d.id = l.dataset AND d.compartment = e.compartment
                WHERE l.epoch = e.epoch AND NOT EXISTS (SELECT FROM vault.lookup y JOIN vault.epoch n ON n.compartment = e.compartment AND n.state = 'active'
                    WHERE y.subject_id = l.subject_id AND y.record_id = l.record_id AND y.dataset = l.dataset AND y.ordinal = l.ordinal AND y.epoch = n.epoch)) THEN
                UPDATE vault.epoch x SET state = 'emptied', changed_at = clock_timestamp(), changed_xact = pg_current_xact_id()
                    WHERE x.compartment = e.compartment AND x.epoch = e.epoch;
                moved_on := moved_on + 1;
            END IF;
        ELSE
            DELETE FROM vault.lookup l USING vault.dataset d WHERE d.id = l.dataset AND d.compartment = e.compartment AND l.epoch = e.epoch;
            UPDATE vault.epoch x SET state = 'retired', changed_at = clock_timestamp(), changed_xact = pg_current_xact_id()
                WHERE x.compartment = e.compartment AND x.epoch = e.epoch;
            PERFORM vault.note_key(20::smallint, e.compartment, e.epoch);
            moved_on := moved_on + 1;
        END IF;
    END LOOP;
    RETURN moved_on;
END $$;

-- A door that writes under an epoch that is not the active one holds old keys: AR428 makes it look again. The same for look-ups, which must stand
-- under every epoch that is searched, or a value could be taken twice.
CREATE OR REPLACE FUNCTION vault.check_epochs(policy int, datasets smallint[], key_epochs int[], lookup_items int[], lookup_ordinals smallint[], lookup_epochs int[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM (SELECT DISTINCT i.dataset, i.epoch FROM unnest(datasets, key_epochs) AS i (dataset, epoch)) i JOIN vault.dataset d ON d.id = i.dataset
        WHERE i.epoch IS NOT NULL AND NOT EXISTS (SELECT FROM vault.epoch e WHERE e.compartment = d.compartment AND e.epoch = i.epoch AND e.state = 'active')) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR428', MESSAGE = 'the keys changed: look at the catalogue again';
    END IF;
    IF EXISTS (
        SELECT FROM (SELECT datasets[l.item] AS dataset, l.item, l.ordinal, array_agg(l.epoch ORDER BY l.epoch) AS given
            FROM unnest(lookup_items, lookup_ordinals, lookup_epochs) AS l (item, ordinal, epoch) GROUP BY l.item, l.ordinal) g
        JOIN vault.dataset d ON d.id = g.dataset
        WHERE g.given <> (SELECT array_agg(e.epoch ORDER BY e.epoch) FROM vault.epoch e WHERE e.compartment = d.compartment AND e.state IN ('active', 'suspended', 'retiring'))) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR428', MESSAGE = 'the keys changed: look at the catalogue again';
    END IF;
END $$;

-- A search must look under every epoch in which a value may stand, or somebody would not be found.
CREATE OR REPLACE FUNCTION vault.check_search(of_dataset smallint, given int[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, vault, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM vault.dataset d JOIN vault.epoch e ON e.compartment = d.compartment AND e.state IN ('active', 'suspended', 'retiring')
               WHERE d.id = of_dataset AND e.epoch <> ALL (given)) THEN
        RAISE EXCEPTION USING ERRCODE = 'AR428', MESSAGE = 'the keys changed: look at the catalogue again';
    END IF;
END $$;
