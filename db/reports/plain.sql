-- Text as words are compared: without accents, in lower case. unaccent() is only STABLE, because
-- its dictionary could be replaced; here it is named with its schema and comes with PostgreSQL, so
-- that the promise IMMUTABLE, which an index on it needs, can be kept.
CREATE OR REPLACE FUNCTION report_internal.plain(text text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
RETURN lower(@unaccent@.unaccent('@unaccent@.unaccent'::regdictionary, text));
