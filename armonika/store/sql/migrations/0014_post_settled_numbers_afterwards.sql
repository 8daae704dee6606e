-- What is waited for was told by a snapshot, which does not know the newest transactions that have begun. It is looked for anew.
UPDATE vault.seal_state SET pending_xact = NULL;
