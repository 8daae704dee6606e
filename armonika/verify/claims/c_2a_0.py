"""2a.0: only the declared purposes, in every cell of role × purpose × dataset × field."""

from __future__ import annotations

from collections.abc import Iterator

from armonika.verify.context import Context
from armonika.verify.frame import Evidence, Sabotage

SEVEN = {"provide", "secure", "billing", "respond", "abuse_fraud", "legal", "improve"}


class Claim:
    """Every cell is asked of the database's own `ask`, about a person who does not exist, in a transaction that is rolled back: allowed cells answer
    "nothing there", all others "not allowed". Past reads all have a declared purpose."""

    claim, hours = "2a.0", 24

    def examine(self, context: Context) -> Evidence:
        evidence = Evidence()
        policy = context.policy
        evidence.expect(
            {purpose.name for purpose in policy.purposes} == SEVEN, "the policy declares other purposes than the sentence names"
        )
        live = {
            row[0]
            for row in context.rows(
                "SELECT p.name FROM vault.declared_purpose d JOIN vault.purpose p ON p.id = d.purpose WHERE d.policy_id = vault.policy_in_force()"
            )
        }
        evidence.expect(live == SEVEN, f"the database knows other purposes: {sorted(live ^ SEVEN)}")
        allowed = {
            (role, rule.purpose, rule.dataset, field.name)
            for rule in policy.rules if "read" in rule.operations for role in rule.roles
            for field in policy.dataset(rule.dataset).fields if "*" in rule.fields or field.name in rule.fields
        }  # fmt: skip
        cells = [
            (role.name, purpose, dataset.name, field.name)
            for role in policy.roles
            for purpose in sorted(SEVEN)
            for dataset in policy.datasets
            for field in dataset.fields
        ]
        with context.undone():
            verdicts = context.rows(
                """WITH made AS (INSERT INTO vault.session (secret_hash, actor, role, org_id, door, kind, expires_at)
                     SELECT sha256(convert_to('matrix ' || name, 'UTF8')), gen_random_uuid(), id, gen_random_uuid(), 'administrator', 'session', clock_timestamp() + interval '1 hour'
                     FROM vault.role RETURNING 1) SELECT count(*) FROM made"""
            )
            evidence.control = verdicts[0][0] > 0
            roles, purposes, datasets, fields = (list(column) for column in zip(*cells, strict=True))
            answers = context.rows(
                """WITH cell AS (SELECT c.*, row_number() OVER () AS n FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS c (role, purpose, dataset, field)),
                   named AS (SELECT c.n, sha256(convert_to('matrix ' || c.role, 'UTF8')) AS secret, p.id AS purpose, d.id AS dataset, 1::bigint << (f.ordinal - 1) AS mask,
                        (SELECT min(x.reason) FROM vault.declared_reason x WHERE x.purpose = p.id AND x.policy_id = vault.policy_in_force()) AS reason
                     FROM cell c JOIN vault.purpose p ON p.name = c.purpose JOIN vault.dataset d ON d.name = c.dataset JOIN vault.field f ON f.dataset = d.id AND f.name = c.field)
                   SELECT a.item, a.verdict FROM (SELECT array_agg(secret ORDER BY n) AS s, array_agg(purpose ORDER BY n) AS p, array_agg(reason ORDER BY n) AS r,
                        array_agg(dataset ORDER BY n) AS d, array_agg(mask ORDER BY n) AS m, array_agg(gen_random_uuid() ORDER BY n) AS j, count(*)::int AS k FROM named) x,
                     LATERAL vault.ask(x.s, array_fill(1::smallint, ARRAY[x.k]), x.p, x.r, array_fill(NULL::text, ARRAY[x.k]), x.j, array_fill(NULL::uuid, ARRAY[x.k]), x.d, x.m) a
                   ORDER BY a.item""",
                (roles, purposes, datasets, fields),
            )
        for cell, (_, verdict) in zip(cells, answers, strict=True):
            expected = 3 if cell in allowed else 2
            evidence.expect(
                verdict == expected, f"{'/'.join(cell)}: {'allowed' if verdict == 3 else 'refused'} against the policy"
            )
        stray = context.rows(
            "SELECT count(*) FILTER (WHERE p.name IS NULL OR p.name <> ALL (%s)), count(*) FROM vault.audit a LEFT JOIN vault.purpose p ON p.id = a.purpose "
            "WHERE a.granted AND a.operation IN (1, 2, 3, 8)", (sorted(SEVEN),)
        )[0]  # fmt: skip
        evidence.expect(stray[0] == 0, f"{stray[0]} reads without a declared purpose")
        evidence.expect(stray[1] > 0, "no read was ever logged")
        evidence.summary = f"{len(cells)} cells, {len(allowed)} of them allowed; {stray[1]} logged reads"
        return evidence

    def sabotages(self) -> Iterator[Sabotage]:
        yield Sabotage(
            "`provide` may read CVs",
            lambda c: c.planted(
                "INSERT INTO vault.rule SELECT vault.policy_in_force(), r.id, p.id, d.id, 1, 'all', 15 FROM vault.role r, vault.purpose p, vault.dataset d "
                "WHERE r.name = 'support' AND p.name = 'provide' AND d.name = 'applicant'"
            ),
        )
        yield Sabotage(
            "a purpose `other` exists",
            lambda c: c.planted(
                "INSERT INTO vault.purpose VALUES (99, 'other')",
                "INSERT INTO vault.declared_purpose VALUES (vault.policy_in_force(), 99, false)",
            ),
        )
        yield Sabotage(
            "a read without a purpose",
            lambda c: c.planted(
                "INSERT INTO vault.audit SELECT -audit_id, at, xact, operation, granted, door, actor, role, subject, record, dataset, fields, 0, 0, NULL, policy_id "
                "FROM vault.audit WHERE operation = 1 AND granted LIMIT 1"
            ),
        )
