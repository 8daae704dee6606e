"""Creations and corrections beside what others do at the same moment: whom they wait for, and whom not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from armonika.trust.vault import codec
from tests.vault.stage import CORRECT, CREATE, Stage
from tests.vault.test_erase_races import waiting_for
from tests.vault.words import Correction, account, creation, denied


def test_a_creation_waits_for_nobody_but_its_own_people(stage: Stage) -> None:
    stage.allow(CREATE)
    mine, other, secret = stage.person(), stage.person(), stage.session()
    words = creation(stage, secret, account(subject=mine.subject, kind=None, org=None))
    stage.rows("api", "SELECT set_config('lock_timeout', '500ms', false)")
    with stage.doors.admin() as holder:
        for held, said in ((other, ""), (mine, "55P03")):
            with holder.transaction(force_rollback=True):
                holder.execute("SELECT FROM vault.subject WHERE subject_id = %s FOR UPDATE", (held.subject,))
                assert denied(stage, "api", codec.CREATE, words) == said


def test_corrections_of_two_fields_at_once_keep_both(stage: Stage) -> None:
    stage.allow(CORRECT)
    made, secret = stage.person(), stage.session()
    one, other = (Correction(stage, made, secret, **{name: "M"}).words for name in ("name", "phone"))
    with stage.doors.raw() as first, ThreadPoolExecutor(1) as pool:
        with first.cursor(binary=True) as cursor:
            cursor.execute(codec.percent(codec.CORRECT).encode(), one)
        second = pool.submit(stage.rows, "api", codec.CORRECT, *other)
        waiting_for(stage.doors, 1)
        first.commit()
        second.result(10)
    (read,) = stage.doors.api.read(stage.doors.token, made.subject, "account", ["name", "phone"], "provide", "integration")
    assert read.values == {"name": "M", "phone": "M"}


def test_a_correction_does_not_come_in_behind_a_restriction(stage: Stage) -> None:
    stage.allow(CORRECT)
    made, secret, api = stage.person(), stage.session(), stage.doors.api.catalogue
    words = Correction(stage, made, secret, name="M").words
    with stage.doors.raw() as first, ThreadPoolExecutor(1) as pool:
        given = (stage.doors.token, api.purpose("provide"), api.reason("integration"), made.subject)
        first.execute("SELECT vault.restrict(%s, %s::smallint, %s::smallint, NULL, %s, true)", given)
        late = pool.submit(stage.refused, "api", codec.CORRECT, *words)
        waiting_for(stage.doors, 1)
        first.commit()
        assert late.result(10) == "AR423"
