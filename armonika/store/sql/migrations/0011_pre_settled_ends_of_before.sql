-- Whose last record ended before this release, and who was not looked at yet or was passed over, is looked at again.
UPDATE vault.ended e SET xact = pg_current_xact_id() FROM vault.subject s
    WHERE s.subject_id = e.subject_id AND s.state <> 'erased' AND e.record_id IS NOT NULL AND e.xact IS NULL
      AND NOT EXISTS (SELECT FROM vault.record r WHERE r.subject_id = e.subject_id);
