"""
Leases of processes, and what each counts by key.

As in the first migration, the tables are unlogged, and schemas are those of the migration. A crash
empties them; then every process begins anew. Counts are changed under one advisory lock, so that no
two processes let in too many together. It is held for one short statement.
"""

from __future__ import annotations

from importlib import import_module

from django.db import migrations

TABLES = """
CREATE UNLOGGED TABLE wsconsumer_process (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    held_until timestamptz NOT NULL,
    UNIQUE (channel, name)
) WITH (fillfactor = 50);

CREATE UNLOGGED TABLE wsconsumer_count (
    process bigint NOT NULL REFERENCES wsconsumer_process ON DELETE CASCADE,
    key text COLLATE "C" NOT NULL,
    count integer NOT NULL,
    PRIMARY KEY (key, process)
) WITH (fillfactor = 80);

CREATE INDEX wsconsumer_count_process ON wsconsumer_count (process);
"""

# The first element tells whether the lease was held; the others are those that have lapsed.
BEAT = """
CREATE FUNCTION wsconsumer_beat(
    of_channel text, of_process text, seconds double precision, told_for integer
) RETURNS text[] LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
    now timestamptz := clock_timestamp();
    was_held text;
BEGIN
    DELETE FROM wsconsumer_process WHERE id IN (
        SELECT id FROM wsconsumer_process
        WHERE channel = of_channel AND held_until <= now - make_interval(secs => told_for)
        FOR UPDATE SKIP LOCKED  -- another process is at it
    );
    UPDATE wsconsumer_process SET held_until = now + make_interval(secs => seconds)
    WHERE channel = of_channel AND name = of_process AND held_until > now;
    was_held := CASE WHEN FOUND THEN 'held' ELSE '' END;
    RETURN was_held || ARRAY(
        SELECT name FROM wsconsumer_process
        WHERE channel = of_channel AND held_until <= now LIMIT 1000
    );
END $$;
"""

# The arrays of who comes have an element for each key: the number of the entry, the key, its limit.
ADMIT = """
CREATE FUNCTION wsconsumer_admit(
    of_channel text, of_process text, counted text[], counts integer[],
    entries integer[], wanted text[], limits integer[]
) RETURNS integer[] LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    now timestamptz;
    own bigint;
    entry integer;
    first integer := 1;
    past integer;
    fits boolean;
    answers integer[] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(2004050799, 3);
    now := clock_timestamp();
    SELECT id INTO own FROM wsconsumer_process
    WHERE channel = of_channel AND name = of_process AND held_until > now;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    DELETE FROM wsconsumer_count
    WHERE process = own AND key IN (
        SELECT item.key FROM unnest(counted, counts) AS item(key, count) WHERE item.count = 0
    );
    INSERT INTO wsconsumer_count (process, key, count)
    SELECT own, item.key, item.count FROM unnest(counted, counts) AS item(key, count)
    WHERE item.count > 0
    ON CONFLICT (key, process) DO UPDATE SET count = EXCLUDED.count;

    WHILE first <= cardinality(entries) LOOP
        entry := entries[first];
        past := first;
        fits := true;
        WHILE past <= cardinality(entries) AND entries[past] = entry LOOP
            fits := fits AND limits[past] > (
                SELECT coalesce(sum(one.count), 0) FROM wsconsumer_count AS one
                JOIN wsconsumer_process AS holder ON holder.id = one.process
                WHERE one.key = wanted[past]
                AND holder.channel = of_channel AND holder.held_until > now
            );
            past := past + 1;
        END LOOP;
        IF fits THEN
            INSERT INTO wsconsumer_count AS one (process, key, count)
            SELECT own, item.key, 1 FROM unnest(wanted[first : past - 1]) AS item(key)
            ON CONFLICT (key, process) DO UPDATE SET count = one.count + 1;
        END IF;
        answers := answers || fits::integer;
        first := past;
    END LOOP;
    RETURN answers;
END $$;
"""

REMOVE = """
DROP FUNCTION wsconsumer_beat, wsconsumer_admit;
DROP TABLE wsconsumer_count, wsconsumer_process;
"""

RunPostgresSQL = import_module(f"{__package__}.0001_kept_groups").RunPostgresSQL


class Migration(migrations.Migration):
    """Everything that limits of connections need."""

    dependencies = (("wsconsumer_postgres", "0001_kept_groups"),)
    operations = (RunPostgresSQL([TABLES, BEAT, ADMIT], reverse_sql=REMOVE),)
