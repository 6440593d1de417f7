"""
What groups keep: histories, their messages and keys, and what is broadcast in open transactions.

Nothing here is worth a WAL: the tables are unlogged, so a crash empties them, and every group has
another epoch. Whatever changes a history does so under one advisory lock, which is taken at the end
of a transaction; so offsets are in the order of the commits, and nobody holds one history while it
waits for another.

Plans are cached while the tables are small and outlive that, hence no sequential scans; and schemas
are those of the migration, whatever a tenant's transaction looks through.
"""

from __future__ import annotations

from typing import Any

from django.db import migrations

TABLES = """
CREATE UNLOGGED TABLE wsconsumer_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    channel text COLLATE "C" NOT NULL,
    token text COLLATE "C" NOT NULL,
    epoch text NOT NULL DEFAULT substr(gen_random_uuid()::text, 1, 8),
    top bigint NOT NULL DEFAULT 0,
    first bigint NOT NULL DEFAULT 1,  -- the offset from which on messages are kept
    slots integer NOT NULL DEFAULT 0,  -- of the ring that they are in
    kept_until timestamptz,  -- NULL while there are no messages
    forgotten_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 day',
    UNIQUE (channel, token)
) WITH (fillfactor = 50);  -- so that a row is updated in its page, and no index with it

CREATE UNLOGGED TABLE wsconsumer_message (
    history bigint NOT NULL REFERENCES wsconsumer_history ON DELETE CASCADE,
    slot integer NOT NULL,
    number bigint NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (history, slot)
) WITH (fillfactor = 80);

CREATE UNLOGGED TABLE wsconsumer_key (
    history bigint NOT NULL REFERENCES wsconsumer_history ON DELETE CASCADE,
    key text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (history, key)
);

CREATE UNLOGGED TABLE wsconsumer_outbox (
    xact xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint GENERATED ALWAYS AS IDENTITY,
    is_first boolean NOT NULL,  -- that there is of this transaction
    channel text NOT NULL,
    token text NOT NULL,
    body text NOT NULL,
    size integer NOT NULL,
    seconds integer NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (xact, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
"""

# The arrays have an element for each body. A row is updated once for all bodies of its group: each
# version of it that a transaction has made would be passed over by all that come later in it.
# A body may be in parts, with DEL and a comma between them: each is a notification.
APPEND = """
CREATE FUNCTION wsconsumer_append(
    to_channel text, tokens text[], bodies text[], sizes integer[], seconds integer[], keys text[]
) RETURNS text[] LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    now timestamptz;
    said record;
    place integer;
    here wsconsumer_history;
    size integer;
    said_at bigint;
    positions text[] := array_fill(''::text, ARRAY[cardinality(tokens)]);
    old_bodies text[];
    old_numbers bigint[];
    parts text[];
BEGIN
    PERFORM pg_advisory_xact_lock(2004050799, 1);
    now := clock_timestamp();
    FOR said IN
        SELECT token, array_agg(place::integer ORDER BY place) AS places
        FROM unnest(tokens) WITH ORDINALITY AS item(token, place) GROUP BY token
    LOOP
        SELECT * INTO here FROM wsconsumer_history
        WHERE channel = to_channel AND token = said.token;
        IF NOT FOUND THEN
            INSERT INTO wsconsumer_history (channel, token) VALUES (to_channel, said.token)
            RETURNING * INTO here;
        END IF;

        FOREACH place IN ARRAY said.places LOOP
            IF keys[place] <> '' THEN
                SELECT number INTO said_at FROM wsconsumer_key
                WHERE history = here.id AND key = keys[place] AND until > now;
                IF FOUND THEN
                    positions[place] := here.epoch || ':' || said_at;
                    CONTINUE;
                END IF;
            END IF;

            size := sizes[place];
            here.top := here.top + 1;
            IF here.kept_until IS NULL THEN
                here.slots := size;
                here.first := here.top;
            ELSIF here.kept_until <= now THEN
                here.first := here.top;
            END IF;
            here.first := greatest(here.first, here.top - size + 1);
            here.kept_until := now + make_interval(secs => seconds[place]);
            IF size > here.slots THEN
                -- The ring grows, so each message has another slot. It does not shrink.
                SELECT array_agg(number), array_agg(body) INTO old_numbers, old_bodies
                FROM wsconsumer_message WHERE history = here.id AND number >= here.first;
                DELETE FROM wsconsumer_message WHERE history = here.id;
                INSERT INTO wsconsumer_message (history, slot, number, body)
                SELECT here.id, number % size, number, body
                FROM unnest(old_numbers, old_bodies) AS old(number, body);
                here.slots := size;
            END IF;
            INSERT INTO wsconsumer_message (history, slot, number, body)
            VALUES (here.id, here.top % here.slots, here.top, bodies[place])
            ON CONFLICT (history, slot) DO UPDATE
            SET number = EXCLUDED.number, body = EXCLUDED.body;
            IF keys[place] <> '' THEN
                INSERT INTO wsconsumer_key (history, key, number, until)
                VALUES (here.id, keys[place], here.top, here.kept_until)
                ON CONFLICT (history, key) DO UPDATE
                SET number = EXCLUDED.number, until = EXCLUDED.until;
            END IF;

            positions[place] := here.epoch || ':' || here.top;
            parts := string_to_array(bodies[place], E'\\x7f,');
            FOR part IN 1 .. cardinality(parts) LOOP
                PERFORM pg_notify(to_channel, format(
                    '%s %s/%s %s %s',
                    positions[place], part, cardinality(parts), said.token, parts[part]
                ));
            END LOOP;
        END LOOP;

        UPDATE wsconsumer_history SET
            top = here.top, first = here.first, slots = here.slots,
            kept_until = here.kept_until, forgotten_at = now + interval '1 day'
        WHERE id = here.id;
    END LOOP;
    RETURN positions;
END $$;
"""

# A deferred trigger that makes work for another one has it done behind all deferred work that was
# there before. So the lock is taken last: foreign keys are checked before it, and wait for others
# without it.
OUTBOX = """
CREATE FUNCTION wsconsumer_put(
    to_channel text, to_token text, new_body text, size integer, seconds integer, new_key text
) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
    is_first boolean := NOT EXISTS (
        SELECT FROM wsconsumer_outbox WHERE xact = pg_current_xact_id()
    );
BEGIN
    INSERT INTO wsconsumer_outbox (is_first, channel, token, body, size, seconds, key)
    VALUES (is_first, to_channel, to_token, new_body, size, seconds, new_key);
END $$;

CREATE FUNCTION wsconsumer_commit() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    UPDATE wsconsumer_outbox SET is_first = false WHERE xact = NEW.xact AND id = NEW.id;
    RETURN NULL;
END $$;

CREATE FUNCTION wsconsumer_commit_last() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
    said record;
BEGIN
    FOR said IN
        WITH gone AS (DELETE FROM wsconsumer_outbox WHERE xact = NEW.xact RETURNING *)
        SELECT
            channel, array_agg(token ORDER BY id) AS tokens, array_agg(body ORDER BY id) AS bodies,
            array_agg(size ORDER BY id) AS sizes, array_agg(seconds ORDER BY id) AS seconds,
            array_agg(key ORDER BY id) AS keys
        FROM gone GROUP BY channel
    LOOP
        PERFORM wsconsumer_append(
            said.channel, said.tokens, said.bodies, said.sizes, said.seconds, said.keys
        );
    END LOOP;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER wsconsumer_commit AFTER INSERT ON wsconsumer_outbox
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.is_first)
EXECUTE FUNCTION wsconsumer_commit();

CREATE CONSTRAINT TRIGGER wsconsumer_commit_last AFTER UPDATE ON wsconsumer_outbox
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
EXECUTE FUNCTION wsconsumer_commit_last();
"""

# A group that was never spoken to is forgotten an hour after somebody asked for it last: strangers
# make up names.
READ = """
CREATE FUNCTION wsconsumer_read(of_channel text, tokens text[], afters bigint[])
RETURNS TABLE (token text, epoch text, top bigint, number bigint, body text)
LANGUAGE plpgsql SET search_path FROM CURRENT SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM FROM unnest(tokens) AS asked(token)
    WHERE NOT EXISTS (
        SELECT FROM wsconsumer_history AS history
        WHERE history.channel = of_channel AND history.token = asked.token
        AND (history.top > 0 OR history.forgotten_at > clock_timestamp() + interval '30 minutes')
    );
    IF FOUND THEN
        PERFORM pg_advisory_xact_lock(2004050799, 1);
        INSERT INTO wsconsumer_history AS history (channel, token, forgotten_at)
        SELECT of_channel, asked.token, clock_timestamp() + interval '1 hour'
        FROM unnest(tokens) AS asked(token)
        ON CONFLICT (channel, token) DO UPDATE
        SET forgotten_at = EXCLUDED.forgotten_at WHERE history.top = 0;
    END IF;
    RETURN QUERY
    SELECT asked.token, here.epoch, here.top, message.number, message.body
    FROM unnest(tokens, afters) AS asked(token, after)
    JOIN wsconsumer_history AS here
        ON here.channel = of_channel AND here.token = asked.token
    LEFT JOIN LATERAL (
        SELECT number, body FROM wsconsumer_message
        WHERE history = here.id AND number > asked.after AND number >= here.first
        AND asked.after < here.top AND here.kept_until > clock_timestamp()
        OFFSET 0  -- so that no ring is scanned for nothing
    ) AS message ON true
    ORDER BY asked.token, message.number;
END $$;
"""

# It looks without the lock, and holds it for a few at a time; it tells whether there may be more.
CLEAN = """
CREATE FUNCTION wsconsumer_clean(most integer) RETURNS boolean
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    now timestamptz := clock_timestamp();
    forgotten bigint[] := ARRAY(
        SELECT id FROM wsconsumer_history WHERE forgotten_at <= now LIMIT most
    );
    quiet bigint[] := ARRAY(SELECT id FROM wsconsumer_history WHERE kept_until <= now LIMIT most);
    keys tid[] := ARRAY(SELECT ctid FROM wsconsumer_key WHERE until <= now LIMIT most);
BEGIN
    IF cardinality(forgotten) + cardinality(quiet) + cardinality(keys) > 0 THEN
        PERFORM pg_advisory_xact_lock(2004050799, 1);
        DELETE FROM wsconsumer_history WHERE id = ANY (forgotten) AND forgotten_at <= now;
        DELETE FROM wsconsumer_message AS message USING wsconsumer_history AS history
        WHERE history.id = message.history AND history.id = ANY (quiet) AND kept_until <= now;
        UPDATE wsconsumer_history SET kept_until = NULL
        WHERE id = ANY (quiet) AND kept_until <= now;
        DELETE FROM wsconsumer_key WHERE ctid = ANY (keys) AND until <= now;
    END IF;
    RETURN most IN (cardinality(forgotten), cardinality(quiet), cardinality(keys));
END $$;
"""

REMOVE = """
DROP TABLE wsconsumer_outbox, wsconsumer_key, wsconsumer_message;
DROP FUNCTION wsconsumer_put, wsconsumer_commit, wsconsumer_commit_last, wsconsumer_append,
    wsconsumer_read, wsconsumer_clean;
DROP TABLE wsconsumer_history;
"""


class RunPostgresSQL(migrations.RunSQL):
    """Runs SQL on PostgreSQL, and does nothing elsewhere."""

    def database_forwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, *states)

    def database_backwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, *states)


class Migration(migrations.Migration):
    """Everything that groups need to keep."""

    initial = True
    operations = (RunPostgresSQL([TABLES, APPEND, OUTBOX, READ, CLEAN], reverse_sql=REMOVE),)
