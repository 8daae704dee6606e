"""Who may do what in the database, read from the server's own catalogue: the rights that a try as each door cannot show (claim 7a.4)."""

from __future__ import annotations

from armonika.verify.context import Context
from armonika.verify.frame import Evidence

SEARCH_PATH = "search_path=pg_catalog, vault, pg_temp"
OWNERS = ("armonika_store", "armonika_vault")
_OURS = "c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace, 'pg_toast'::regnamespace) AND c.relpersistence <> 't'"
# (what is wrong, rows that show it); a row is a text that names the place. `strays` are roles that are neither ours, the server's own nor the first superuser.
_WRONG = (
    ("may do more than a plain role",
     "SELECT r.rolname FROM pg_roles r WHERE r.rolname LIKE 'armonika\\_%%' AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication OR r.rolbypassrls "
     "OR r.rolname = ANY (%(owners)s) AND r.rolcanlogin OR r.rolname <> ALL (%(owners)s) AND r.rolinherit)"),
    ("is given through another role",
     "SELECT m.roleid::regrole || ' to ' || m.member::regrole FROM pg_auth_members m JOIN pg_roles a ON a.oid = m.roleid JOIN pg_roles b ON b.oid = m.member "
     "WHERE a.rolname LIKE 'armonika\\_%%' OR b.rolname LIKE 'armonika\\_%%'"),
    ("is given on a table, view or sequence to somebody who must have none",
     "SELECT c.oid::regclass || ': ' || x.privilege_type || ' to ' || CASE x.grantee WHEN 0 THEN 'everybody' ELSE x.grantee::regrole::text END FROM pg_class c "
     f"CROSS JOIN LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT e.* FROM pg_attribute t, aclexplode(t.attacl) e WHERE t.attrelid = c.oid) x WHERE {_OURS} "
     "AND x.grantee <> c.relowner AND x.grantee::regrole::text <> 'armonika_vault' AND NOT (c.relnamespace = 'jobs'::regnamespace AND x.grantee::regrole::text = 'armonika_worker')"),
    ("may be changed by who may only add to it",
     "SELECT c.oid::regclass || ': ' || x.privilege_type FROM pg_class c, aclexplode(c.relacl) x WHERE c.relnamespace = 'vault'::regnamespace AND "
     "(c.relname IN ('leaf', 'tombstone', 'policy_version', 'declared_retention', 'staff_end', 'access_review', 'administrator_entry', 'administrator_seen', 'ended') OR c.relname LIKE 'audit%%' AND c.relkind IN ('r', 'p')) "
     "AND x.grantee <> c.relowner AND x.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')"),
    ("is owned by somebody else than the store",
     "SELECT c.oid::regclass || ' by ' || c.relowner::regrole FROM pg_class c WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND c.relowner::regrole::text <> 'armonika_store'"),
    ("lets somebody make or alter things in it",
     "SELECT n.nspname || ': ' || x.privilege_type || ' to ' || CASE x.grantee WHEN 0 THEN 'everybody' ELSE x.grantee::regrole::text END FROM pg_namespace n, aclexplode(n.nspacl) x "
     "WHERE x.privilege_type = 'CREATE' AND x.grantee <> n.nspowner"),
    ("of the database is given",
     "SELECT x.privilege_type || ' to ' || CASE x.grantee WHEN 0 THEN 'everybody' ELSE x.grantee::regrole::text END FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x "
     "WHERE d.datname = current_database() AND x.privilege_type <> 'CONNECT' AND x.grantee <> d.datdba"),
    ("runs with rights that it must not have",
     "SELECT p.oid::regprocedure::text || ' as ' || p.proowner::regrole FROM pg_proc p WHERE p.oid >= 16384 AND p.prosecdef AND (p.pronamespace <> 'vault'::regnamespace OR p.proowner::regrole::text <> 'armonika_vault') "
     "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"),
    ("takes names from where its caller likes",
     "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'vault'::regnamespace AND p.prokind = 'f' AND NOT coalesce(p.proconfig, '{}') @> ARRAY[%(path)s]"),
    ("carries data to elsewhere",
     "SELECT 'publication ' || pubname FROM pg_publication UNION ALL SELECT 'foreign server ' || srvname FROM pg_foreign_server "
     "UNION ALL SELECT 'logical slot ' || slot_name FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()"),
    ("is switched off",
     "SELECT t.tgname || ' on ' || t.tgrelid::regclass FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'vault'::regnamespace AND t.tgenabled NOT IN ('O', 'A')"),
    ("lets in without a proof",
     "SELECT h.type || ' ' || array_to_string(h.user_name, ',') || ' ' || h.auth_method FROM pg_hba_file_rules h WHERE h.auth_method IN ('trust', 'password', 'ident')"),
)  # fmt: skip
_STRAYS = (
    "SELECT r.rolname FROM pg_roles r WHERE r.oid >= 16384 AND r.rolname <> current_user AND (r.rolname NOT LIKE 'armonika\\_%%' OR substr(r.rolname, 10) <> ALL (%(known)s)) "
    "AND (%(embedded)s OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid AND m.roleid::regrole::text IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', 'pg_execute_server_program')) "
    "OR r.rolname LIKE 'armonika\\_%%')"
)

SABOTAGES = {
    "a door may write to a table": "GRANT INSERT ON vault.session TO armonika_console",
    "a superuser's door": "ALTER ROLE armonika_vault SUPERUSER",
    "a function with a superuser's rights": "CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM vault.session'",
    "a function that takes names from where its caller likes": "ALTER FUNCTION vault.whoami RESET search_path",
    "a role that reads everything": "GRANT pg_read_all_data TO armonika_vault",
    "a guard is switched off": "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'vault.tombstone'::regclass AND tgname = 'keep'",
    "a rule of services is wider in the database than in the policy": "INSERT INTO vault.rule SELECT vault.policy_in_force(), r.id, p.id, d.id, o.id, 'all', 1 FROM vault.role r, "
    "vault.purpose p, vault.dataset d, vault.operation o WHERE r.name = 'integration' AND p.name = 'provide' AND d.name = 'staff' AND o.name = 'read'",
    "a door may open another compartment": "INSERT INTO vault.door_compartment SELECT vault.policy_in_force(), 'site', c.id, 'full' FROM vault.compartment c WHERE c.name = 'staff'",
}
"""Statements that plant what a try as each door does not show."""


def compared(context: Context, evidence: Evidence, doors: set[str]) -> None:
    """Each fault that the catalogue shows is a failure. `doors` are the doors that have a role. On the embedded server no other role may exist."""
    known = [*doors, *(owner.removeprefix("armonika_") for owner in OWNERS)]
    given = {"owners": list(OWNERS), "path": SEARCH_PATH, "known": known, "embedded": context.settings.database_url is None}
    for what, statement in (*_WRONG, ("is a role that nobody wrote down", _STRAYS)):
        found = [str(name) for (name,) in context.database.execute(statement.encode(), given).fetchall()]
        evidence.expect(not found, f"{', '.join(found[:5])} {what}")


def rules(context: Context, evidence: Evidence) -> None:
    """The rules of all roles, and the compartments of all doors, in the database and in the policy's text: one set."""
    policy = context.policy
    masks: dict[tuple[str, str], int] = {}
    for dataset, name, ordinal in context.rows(
        "SELECT d.name, f.name, f.ordinal FROM vault.field f JOIN vault.dataset d ON d.id = f.dataset"
    ):
        masks[str(dataset), str(name)] = 1 << (int(ordinal) - 1)
    wanted: dict[tuple[str, ...], int] = {}
    for rule in policy.rules:
        fields = [field.name for field in policy.dataset(rule.dataset).fields if "*" in rule.fields or field.name in rule.fields]
        mask = sum(masks[rule.dataset, name] for name in fields)
        for role in rule.roles:
            for operation in rule.operations:
                key = (role, rule.purpose, rule.dataset, operation, rule.scope)
                wanted[key] = wanted.get(key, 0) | mask
    held: dict[tuple[str, ...], int] = {}
    for role, purpose, dataset, operation, scope, mask in context.rows(
        "SELECT r.name, p.name, d.name, o.name, u.scope, u.fields FROM vault.rule u JOIN vault.role r ON r.id = u.role JOIN vault.purpose p ON p.id = u.purpose "
        "JOIN vault.dataset d ON d.id = u.dataset JOIN vault.operation o ON o.id = u.operation WHERE u.policy_id = vault.policy_in_force()"
    ):
        cell = (str(role), str(purpose), str(dataset), str(operation), str(scope))
        held[cell] = held.get(cell, 0) | int(mask)
    for rule_of in sorted(wanted.keys() | held.keys()):
        evidence.expect(
            wanted.get(rule_of) == held.get(rule_of),
            f"{'/'.join(rule_of)}: the rule in the database is not the one in the policy",
        )
    doors = {
        (str(door), str(name), str(mode))
        for door, name, mode in context.rows(
            "SELECT x.door, c.name, x.mode FROM vault.door_compartment x JOIN vault.compartment c ON c.id = x.compartment WHERE x.policy_id = vault.policy_in_force()"
        )
    }
    named = {(door, name, mode) for door, modes in policy.doors.items() for name, mode in modes.items()}
    evidence.expect(
        doors == named, f"the compartments of {sorted({door for door, _, _ in doors ^ named})} are not those of the policy"
    )
