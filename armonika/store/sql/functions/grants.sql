-- Applied after every migration. Owners, then exactly what each door may call; everything else is refused by absence.
-- A function is granted to the doors named here or to nobody: tests/vault/test_catalogue.py compares this table with the server.
CREATE TEMP TABLE door_grant (function text, doors text[]) ON COMMIT DROP;
INSERT INTO door_grant VALUES
    ('catalogue', '{site,console,api,worker,verifier,keeper,timpani}'), ('policies', '{site,console,api,verifier}'), ('policy_document', '{site,console,api,verifier}'),
    ('trust_report', '{site,console,api,verifier}'), ('publish_trust_report', '{verifier}'),
    ('ask', '{site,console,api,worker,verifier,keeper}'), ('ask_find', '{site,console,api,worker,verifier}'), ('take', '{site,console,api,worker,verifier,keeper}'),
    ('read', '{site,console,api,worker,verifier}'), ('find', '{site,console,api,worker,verifier}'),
    ('create', '{site,console,api,verifier}'), ('correct', '{site,console,api,verifier}'), ('erase', '{site,console,api,worker,verifier}'), ('erase_records', '{console,api,worker,verifier}'),
    ('restrict', '{site,console,api,verifier}'), ('note_refusal', '{site,console,api,worker,verifier}'),
    ('consult', '{site,console,api,verifier}'), ('describe', '{site,console,api,verifier}'), ('accesses', '{site,console,api,verifier}'),
    ('access_entry', '{site,console,api,verifier}'), ('made', '{api}'), ('living', '{api}'),
    ('sign_in_salt', '{site,console,verifier}'), ('sign_in', '{site,console,verifier}'), ('whoami', '{site,console,api,worker,verifier}'),
    ('sign_out', '{site,console,verifier}'), ('own_salt', '{site,console,verifier}'), ('prove_again', '{site,console,verifier}'),
    ('set_first_credential', '{site,console,verifier}'),
    ('second_state', '{console}'), ('second_begin', '{console}'), ('second_prove', '{console}'), ('second_recover', '{console}'), ('second_enrol', '{console}'),
    ('second_codes', '{console}'), ('consult_staff', '{console}'), ('staff_accounts', '{console}'), ('record_review', '{console}'),
    ('administrator_unseen', '{console}'), ('administrator_entries', '{console}'), ('administrator_see', '{console}'),
    ('issue_challenge', '{worker,verifier}'), ('redeem_challenge', '{site,console,verifier}'), ('throttle', '{site,console,api}'),
    ('enqueue', '{site,console,worker}'), ('enqueue_to', '{site,console}'),
    ('epochs', '{keeper,timpani,verifier}'), ('rotation_state', '{keeper,timpani,verifier}'), ('stale_keys', '{keeper,timpani}'), ('rewrap', '{keeper,timpani}'),
    ('stale_lookups', '{keeper,timpani}'), ('redigest', '{keeper,timpani}'), ('settle_epochs', '{keeper,timpani}'), ('sweep', '{keeper,timpani}'), ('unregistered', '{sealer}'), ('mark_registered', '{sealer}'),
    ('event', '{site,console,api,verifier}'), ('withdraw_event', '{console,api,verifier}'),
    ('expire', '{retention}'), ('end_empty', '{retention}'), ('purge_stale', '{retention}'), ('retention_progress', '{retention}'), ('retention_clock', '{retention}'),
    ('unsealed', '{sealer}'), ('append_leaves', '{sealer}'), ('tree_size', '{sealer,verifier}'), ('leaves', '{sealer,verifier}');

DO $$
DECLARE t record; g record; door text;
BEGIN
    -- Only what is not so already: a start then waits for nobody who uses a table, and the server's own analysis of one, which waits for whoever changed its
    -- rights, cannot wait for a start that waits for it. The owner first, for the same reason.
    FOR t IN SELECT c.oid::regclass AS name, c.relkind, c.relowner <> 'armonika_store'::regrole AS elsewhere,
                 EXISTS (SELECT FROM aclexplode(c.relacl) x WHERE x.grantee = 0) AS given FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = 'vault' AND c.relkind IN ('r', 'p', 'S') LOOP
        IF NOT t.elsewhere THEN
            NULL;
        ELSIF t.relkind = 'S' THEN
            IF NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.name::oid AND d.deptype IN ('a', 'i')) THEN
                EXECUTE format('ALTER SEQUENCE %s OWNER TO armonika_store', t.name);
            END IF;
        ELSE
            EXECUTE format('ALTER TABLE %s OWNER TO armonika_store', t.name);
        END IF;
        IF t.given THEN EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', t.name); END IF;
    END LOOP;
    FOR t IN SELECT p.oid::regprocedure AS name, p.prokind FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'vault' LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO armonika_vault', t.name);
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC, armonika_site, armonika_console, armonika_api, armonika_worker, armonika_sealer, armonika_verifier, armonika_mailin, armonika_timpani, armonika_keeper, armonika_retention', t.name);
    END LOOP;
    FOR g IN SELECT p.oid::regprocedure AS name, d.doors FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'vault'
             JOIN pg_temp.door_grant d ON d.function = p.proname LOOP
        FOREACH door IN ARRAY g.doors LOOP EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', g.name, 'armonika_' || door); END LOOP;
    END LOOP;
END $$;

-- What the functions themselves need, and no more: audit rows, leaves, tombstones and policy versions are only ever added.
REVOKE ALL ON ALL TABLES IN SCHEMA vault FROM armonika_vault;
GRANT SELECT ON ALL TABLES IN SCHEMA vault TO armonika_vault;
GRANT INSERT ON vault.administrator_entry, vault.administrator_seen, vault.staff_end, vault.access_review, vault.ended, vault.audit, vault.leaf, vault.tombstone, vault.policy_version, vault.declared_field, vault.declared_purpose, vault.declared_reason,
    vault.door_compartment, vault.compartment, vault.dataset, vault.field, vault.purpose, vault.role, vault.reason, vault.organisation, vault.trust_report TO armonika_vault;
GRANT INSERT ON vault.declared_retention TO armonika_vault;
GRANT INSERT, UPDATE, DELETE ON vault.retention TO armonika_vault;
GRANT UPDATE ON vault.retention_state TO armonika_vault;
GRANT DELETE ON vault.throttle, vault.trust_report TO armonika_vault;
GRANT INSERT, UPDATE ON vault.rule, vault.subject, vault.session, vault.credential, vault.challenge, vault.throttle, vault.record TO armonika_vault;
GRANT INSERT, UPDATE, DELETE ON vault.lookup, vault.erasing, vault.second_factor, vault.recovery_code TO armonika_vault;
GRANT INSERT, UPDATE ON vault.data_key, vault.epoch TO armonika_vault;
GRANT UPDATE ON vault.rotation TO armonika_vault;
GRANT UPDATE (registered) ON vault.ended TO armonika_vault;
GRANT DELETE ON vault.record, vault.data_key, vault.credential, vault.challenge, vault.session TO armonika_vault;
GRANT UPDATE ON vault.seal_state, vault.subject TO armonika_vault;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA vault TO armonika_vault;
GRANT USAGE ON SCHEMA vault TO armonika_vault, armonika_site, armonika_console, armonika_api, armonika_worker, armonika_sealer, armonika_verifier,
    armonika_mailin, armonika_timpani, armonika_keeper, armonika_retention;
REVOKE CREATE ON SCHEMA vault FROM armonika_vault;
