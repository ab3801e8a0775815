-- The tables of Kong 3.10, with its names, types, constraints and triggers (the lists in ../shared/spec/postgres.md): a database
-- that Silverback bootstraps is one that Kong's nodes can use too. Runs within one transaction, on an empty schema.

-- Keeps the tags of all entities in one table.
CREATE FUNCTION sync_tags() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  IF TG_OP = 'DELETE' THEN
    DELETE FROM tags WHERE entity_id = OLD.id;
    RETURN OLD;
  END IF;
  INSERT INTO tags (entity_id, entity_name, tags) VALUES (NEW.id, TG_TABLE_NAME, NEW.tags)
    ON CONFLICT (entity_id) DO UPDATE SET tags = EXCLUDED.tags;
  RETURN NEW;
END
$function$;

-- Deletes some expired rows of the table that was inserted into; the argument names the column with the time.
CREATE FUNCTION batch_delete_expired_rows() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
  EXECUTE format(
    'DELETE FROM %1$I.%2$I WHERE ctid IN (SELECT ctid FROM %1$I.%2$I WHERE %3$I < CURRENT_TIMESTAMP ORDER BY %3$I LIMIT 50
     FOR UPDATE SKIP LOCKED)', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0]);
  RETURN NULL;
END
$function$;

CREATE TABLE acme_storage (
  id uuid NOT NULL,
  key text,
  value text,
  created_at timestamptz,
  ttl timestamptz,
  CONSTRAINT acme_storage_key_key UNIQUE (key),
  CONSTRAINT acme_storage_pkey PRIMARY KEY (id)
);
CREATE INDEX acme_storage_ttl_idx ON acme_storage (ttl);
CREATE TRIGGER acme_storage_ttl_trigger AFTER INSERT ON acme_storage
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('ttl');

CREATE TABLE ca_certificates (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  cert text NOT NULL,
  tags text[],
  cert_digest text NOT NULL,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT ca_certificates_cert_digest_key UNIQUE (cert_digest),
  CONSTRAINT ca_certificates_pkey PRIMARY KEY (id)
);
CREATE TRIGGER ca_certificates_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON ca_certificates
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE cluster_events (
  id uuid NOT NULL,
  node_id uuid NOT NULL,
  at timestamptz NOT NULL,
  nbf timestamptz,
  expire_at timestamptz NOT NULL,
  channel text,
  data text,
  CONSTRAINT cluster_events_pkey PRIMARY KEY (id)
);
CREATE INDEX cluster_events_at_idx ON cluster_events (at);
CREATE INDEX cluster_events_channel_idx ON cluster_events (channel);
CREATE INDEX cluster_events_expire_at_idx ON cluster_events (expire_at);
CREATE TRIGGER cluster_events_ttl_trigger AFTER INSERT ON cluster_events
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('expire_at');

CREATE TABLE clustering_data_planes (
  id uuid NOT NULL,
  hostname text NOT NULL,
  ip text NOT NULL,
  last_seen timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  config_hash text NOT NULL,
  ttl timestamptz,
  version text,
  sync_status text DEFAULT 'unknown' NOT NULL,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  labels jsonb,
  cert_details jsonb,
  rpc_capabilities text[],
  CONSTRAINT clustering_data_planes_pkey PRIMARY KEY (id)
);
CREATE INDEX clustering_data_planes_ttl_idx ON clustering_data_planes (ttl);
CREATE TRIGGER clustering_data_planes_ttl_trigger AFTER INSERT ON clustering_data_planes
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('ttl');

CREATE TABLE clustering_rpc_requests (
  id bigserial,
  node_id uuid NOT NULL,
  reply_to uuid NOT NULL,
  ttl timestamptz NOT NULL,
  payload json NOT NULL,
  CONSTRAINT clustering_rpc_requests_pkey PRIMARY KEY (id)
);
CREATE INDEX clustering_rpc_requests_node_id_idx ON clustering_rpc_requests (node_id);

CREATE TABLE clustering_sync_version (
  version bigserial,
  CONSTRAINT clustering_sync_version_pkey PRIMARY KEY (version)
);

CREATE TABLE locks (
  key text NOT NULL,
  owner text,
  ttl timestamptz,
  CONSTRAINT locks_pkey PRIMARY KEY (key)
);
CREATE INDEX locks_ttl_idx ON locks (ttl);

CREATE TABLE parameters (
  key text NOT NULL,
  value text NOT NULL,
  created_at timestamptz,
  CONSTRAINT parameters_pkey PRIMARY KEY (key)
);

CREATE TABLE ratelimiting_metrics (
  identifier text NOT NULL,
  period text NOT NULL,
  period_date timestamptz NOT NULL,
  service_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
  route_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
  value integer,
  ttl timestamptz,
  CONSTRAINT ratelimiting_metrics_pkey PRIMARY KEY (identifier, period, period_date, service_id, route_id)
);
CREATE INDEX ratelimiting_metrics_idx ON ratelimiting_metrics (service_id, route_id, period_date, period);
CREATE INDEX ratelimiting_metrics_ttl_idx ON ratelimiting_metrics (ttl);
CREATE TRIGGER ratelimiting_metrics_ttl_trigger AFTER INSERT ON ratelimiting_metrics
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('ttl');

CREATE TABLE response_ratelimiting_metrics (
  identifier text NOT NULL,
  period text NOT NULL,
  period_date timestamptz NOT NULL,
  service_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
  route_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid NOT NULL,
  value integer,
  CONSTRAINT response_ratelimiting_metrics_pkey PRIMARY KEY (identifier, period, period_date, service_id, route_id)
);

CREATE TABLE schema_meta (
  key text NOT NULL,
  subsystem text NOT NULL,
  last_executed text,
  executed text[],
  pending text[],
  CONSTRAINT schema_meta_pkey PRIMARY KEY (key, subsystem)
);

CREATE TABLE sessions (
  id uuid NOT NULL,
  session_id text,
  expires integer,
  data text,
  created_at timestamptz,
  ttl timestamptz,
  CONSTRAINT sessions_session_id_key UNIQUE (session_id),
  CONSTRAINT sessions_pkey PRIMARY KEY (id)
);
CREATE INDEX session_sessions_expires_idx ON sessions (expires);
CREATE INDEX sessions_ttl_idx ON sessions (ttl);
CREATE TRIGGER sessions_ttl_trigger AFTER INSERT ON sessions
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('ttl');

CREATE TABLE session_metadatas (
  id uuid NOT NULL,
  session_id uuid,
  sid text,
  subject text,
  audience text,
  created_at timestamptz,
  CONSTRAINT session_metadatas_pkey PRIMARY KEY (id),
  CONSTRAINT session_metadatas_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions(id) ON DELETE CASCADE
);
CREATE INDEX session_id_idx ON session_metadatas (session_id);
CREATE INDEX subject_audience_idx ON session_metadatas (subject, audience);

CREATE TABLE tags (
  entity_id uuid NOT NULL,
  entity_name text,
  tags text[],
  CONSTRAINT tags_pkey PRIMARY KEY (entity_id)
);
CREATE INDEX tags_entity_name_idx ON tags (entity_name);
CREATE INDEX tags_tags_idx ON tags USING gin (tags);

CREATE TABLE workspaces (
  id uuid NOT NULL,
  name text,
  comment text,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  meta jsonb,
  config jsonb,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT workspaces_name_key UNIQUE (name),
  CONSTRAINT workspaces_pkey PRIMARY KEY (id)
);

CREATE TABLE certificates (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  cert text,
  key text,
  tags text[],
  ws_id uuid,
  cert_alt text,
  key_alt text,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT certificates_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT certificates_pkey PRIMARY KEY (id),
  CONSTRAINT certificates_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX certificates_tags_idx ON certificates USING gin (tags);
CREATE TRIGGER certificates_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON certificates
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE consumers (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  username text,
  custom_id text,
  tags text[],
  ws_id uuid,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT consumers_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT consumers_ws_id_custom_id_unique UNIQUE (ws_id, custom_id),
  CONSTRAINT consumers_ws_id_username_unique UNIQUE (ws_id, username),
  CONSTRAINT consumers_pkey PRIMARY KEY (id),
  CONSTRAINT consumers_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX consumers_tags_idx ON consumers USING gin (tags);
CREATE INDEX consumers_username_idx ON consumers (lower(username));
CREATE TRIGGER consumers_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON consumers
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE acls (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  consumer_id uuid,
  "group" text,
  cache_key text,
  tags text[],
  ws_id uuid,
  CONSTRAINT acls_cache_key_key UNIQUE (cache_key),
  CONSTRAINT acls_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT acls_pkey PRIMARY KEY (id),
  CONSTRAINT acls_consumer_id_fkey FOREIGN KEY (consumer_id, ws_id) REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT acls_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX acls_consumer_id_idx ON acls (consumer_id);
CREATE INDEX acls_group_idx ON acls ("group");
CREATE INDEX acls_tags_idex_tags_idx ON acls USING gin (tags);
CREATE TRIGGER acls_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON acls
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE basicauth_credentials (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  consumer_id uuid,
  username text,
  password text,
  tags text[],
  ws_id uuid,
  CONSTRAINT basicauth_credentials_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT basicauth_credentials_ws_id_username_unique UNIQUE (ws_id, username),
  CONSTRAINT basicauth_credentials_pkey PRIMARY KEY (id),
  CONSTRAINT basicauth_credentials_consumer_id_fkey FOREIGN KEY (consumer_id, ws_id) REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT basicauth_credentials_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX basicauth_consumer_id_idx ON basicauth_credentials (consumer_id);
CREATE INDEX basicauth_tags_idex_tags_idx ON basicauth_credentials USING gin (tags);
CREATE TRIGGER basicauth_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON basicauth_credentials
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE hmacauth_credentials (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  consumer_id uuid,
  username text,
  secret text,
  tags text[],
  ws_id uuid,
  CONSTRAINT hmacauth_credentials_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT hmacauth_credentials_ws_id_username_unique UNIQUE (ws_id, username),
  CONSTRAINT hmacauth_credentials_pkey PRIMARY KEY (id),
  CONSTRAINT hmacauth_credentials_consumer_id_fkey FOREIGN KEY (consumer_id, ws_id) REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT hmacauth_credentials_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX hmacauth_credentials_consumer_id_idx ON hmacauth_credentials (consumer_id);
CREATE INDEX hmacauth_tags_idex_tags_idx ON hmacauth_credentials USING gin (tags);
CREATE TRIGGER hmacauth_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON hmacauth_credentials
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE jwt_secrets (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  consumer_id uuid,
  key text,
  secret text,
  algorithm text,
  rsa_public_key text,
  tags text[],
  ws_id uuid,
  CONSTRAINT jwt_secrets_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT jwt_secrets_ws_id_key_unique UNIQUE (ws_id, key),
  CONSTRAINT jwt_secrets_pkey PRIMARY KEY (id),
  CONSTRAINT jwt_secrets_consumer_id_fkey FOREIGN KEY (consumer_id, ws_id) REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT jwt_secrets_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX jwt_secrets_consumer_id_idx ON jwt_secrets (consumer_id);
CREATE INDEX jwt_secrets_secret_idx ON jwt_secrets (secret);
CREATE INDEX jwtsecrets_tags_idex_tags_idx ON jwt_secrets USING gin (tags);
CREATE TRIGGER jwtsecrets_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON jwt_secrets
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE key_sets (
  id uuid NOT NULL,
  name text,
  tags text[],
  ws_id uuid,
  created_at timestamptz,
  updated_at timestamptz,
  CONSTRAINT key_sets_name_key UNIQUE (name),
  CONSTRAINT key_sets_pkey PRIMARY KEY (id),
  CONSTRAINT key_sets_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX key_sets_tags_idx ON key_sets USING gin (tags);
CREATE TRIGGER key_sets_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON key_sets
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE keyauth_credentials (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  consumer_id uuid,
  key text,
  tags text[],
  ttl timestamptz,
  ws_id uuid,
  CONSTRAINT keyauth_credentials_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT keyauth_credentials_ws_id_key_unique UNIQUE (ws_id, key),
  CONSTRAINT keyauth_credentials_pkey PRIMARY KEY (id),
  CONSTRAINT keyauth_credentials_consumer_id_fkey FOREIGN KEY (consumer_id, ws_id) REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT keyauth_credentials_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX keyauth_credentials_consumer_id_idx ON keyauth_credentials (consumer_id);
CREATE INDEX keyauth_credentials_ttl_idx ON keyauth_credentials (ttl);
CREATE INDEX keyauth_tags_idex_tags_idx ON keyauth_credentials USING gin (tags);
CREATE TRIGGER keyauth_credentials_ttl_trigger AFTER INSERT ON keyauth_credentials
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('ttl');
CREATE TRIGGER keyauth_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON keyauth_credentials
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE keys (
  id uuid NOT NULL,
  set_id uuid,
  name text,
  cache_key text,
  ws_id uuid,
  kid text,
  jwk text,
  pem jsonb,
  tags text[],
  created_at timestamptz,
  updated_at timestamptz,
  CONSTRAINT keys_cache_key_key UNIQUE (cache_key),
  CONSTRAINT keys_kid_set_id_key UNIQUE (kid, set_id),
  CONSTRAINT keys_name_key UNIQUE (name),
  CONSTRAINT keys_pkey PRIMARY KEY (id),
  CONSTRAINT keys_set_id_fkey FOREIGN KEY (set_id) REFERENCES key_sets(id) ON DELETE CASCADE,
  CONSTRAINT keys_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX keys_fkey_key_sets ON keys (set_id);
CREATE INDEX keys_tags_idx ON keys USING gin (tags);
CREATE TRIGGER keys_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON keys
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE oauth2_credentials (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  name text,
  consumer_id uuid,
  client_id text,
  client_secret text,
  redirect_uris text[],
  tags text[],
  client_type text,
  hash_secret boolean,
  ws_id uuid,
  CONSTRAINT oauth2_credentials_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT oauth2_credentials_ws_id_client_id_unique UNIQUE (ws_id, client_id),
  CONSTRAINT oauth2_credentials_pkey PRIMARY KEY (id),
  CONSTRAINT oauth2_credentials_consumer_id_fkey FOREIGN KEY (consumer_id, ws_id) REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT oauth2_credentials_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX oauth2_credentials_consumer_id_idx ON oauth2_credentials (consumer_id);
CREATE INDEX oauth2_credentials_secret_idx ON oauth2_credentials (client_secret);
CREATE INDEX oauth2_credentials_tags_idex_tags_idx ON oauth2_credentials USING gin (tags);
CREATE TRIGGER oauth2_credentials_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON oauth2_credentials
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE services (
  id uuid NOT NULL,
  created_at timestamptz,
  updated_at timestamptz,
  name text,
  retries bigint,
  protocol text,
  host text,
  port bigint,
  path text,
  connect_timeout bigint,
  write_timeout bigint,
  read_timeout bigint,
  tags text[],
  client_certificate_id uuid,
  tls_verify boolean,
  tls_verify_depth smallint,
  ca_certificates uuid[],
  ws_id uuid,
  enabled boolean DEFAULT true,
  CONSTRAINT services_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT services_ws_id_name_unique UNIQUE (ws_id, name),
  CONSTRAINT services_pkey PRIMARY KEY (id),
  CONSTRAINT services_client_certificate_id_fkey FOREIGN KEY (client_certificate_id, ws_id) REFERENCES certificates(id, ws_id),
  CONSTRAINT services_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX services_fkey_client_certificate ON services (client_certificate_id);
CREATE INDEX services_tags_idx ON services USING gin (tags);
CREATE TRIGGER services_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON services
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE oauth2_tokens (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  credential_id uuid,
  service_id uuid,
  access_token text,
  refresh_token text,
  token_type text,
  expires_in integer,
  authenticated_userid text,
  scope text,
  ttl timestamptz,
  ws_id uuid,
  CONSTRAINT oauth2_tokens_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT oauth2_tokens_ws_id_access_token_unique UNIQUE (ws_id, access_token),
  CONSTRAINT oauth2_tokens_ws_id_refresh_token_unique UNIQUE (ws_id, refresh_token),
  CONSTRAINT oauth2_tokens_pkey PRIMARY KEY (id),
  CONSTRAINT oauth2_tokens_credential_id_fkey FOREIGN KEY (credential_id, ws_id) REFERENCES oauth2_credentials(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT oauth2_tokens_service_id_fkey FOREIGN KEY (service_id, ws_id) REFERENCES services(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT oauth2_tokens_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX oauth2_tokens_authenticated_userid_idx ON oauth2_tokens (authenticated_userid);
CREATE INDEX oauth2_tokens_credential_id_idx ON oauth2_tokens (credential_id);
CREATE INDEX oauth2_tokens_service_id_idx ON oauth2_tokens (service_id);
CREATE INDEX oauth2_tokens_ttl_idx ON oauth2_tokens (ttl);
CREATE TRIGGER oauth2_tokens_ttl_trigger AFTER INSERT ON oauth2_tokens
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('ttl');

CREATE TABLE routes (
  id uuid NOT NULL,
  created_at timestamptz,
  updated_at timestamptz,
  name text,
  service_id uuid,
  protocols text[],
  methods text[],
  hosts text[],
  paths text[],
  snis text[],
  sources jsonb[],
  destinations jsonb[],
  regex_priority bigint,
  strip_path boolean,
  preserve_host boolean,
  tags text[],
  https_redirect_status_code integer,
  headers jsonb,
  path_handling text DEFAULT 'v0',
  ws_id uuid,
  request_buffering boolean,
  response_buffering boolean,
  expression text,
  priority bigint,
  CONSTRAINT routes_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT routes_ws_id_name_unique UNIQUE (ws_id, name),
  CONSTRAINT routes_pkey PRIMARY KEY (id),
  CONSTRAINT routes_service_id_fkey FOREIGN KEY (service_id, ws_id) REFERENCES services(id, ws_id),
  CONSTRAINT routes_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX routes_service_id_idx ON routes (service_id);
CREATE INDEX routes_tags_idx ON routes USING gin (tags);
CREATE TRIGGER routes_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON routes
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE filter_chains (
  id uuid NOT NULL,
  name text,
  enabled boolean DEFAULT true,
  route_id uuid,
  service_id uuid,
  ws_id uuid,
  cache_key text,
  filters jsonb[],
  tags text[],
  created_at timestamptz,
  updated_at timestamptz,
  CONSTRAINT filter_chains_cache_key_key UNIQUE (cache_key),
  CONSTRAINT filter_chains_name_key UNIQUE (name),
  CONSTRAINT filter_chains_pkey PRIMARY KEY (id),
  CONSTRAINT filter_chains_route_id_fkey FOREIGN KEY (route_id) REFERENCES routes(id) ON DELETE CASCADE,
  CONSTRAINT filter_chains_service_id_fkey FOREIGN KEY (service_id) REFERENCES services(id) ON DELETE CASCADE,
  CONSTRAINT filter_chains_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX filter_chains_cache_key_idx ON filter_chains (cache_key);
CREATE UNIQUE INDEX filter_chains_name_idx ON filter_chains (name);
CREATE INDEX filter_chains_tags_idx ON filter_chains USING gin (tags);
CREATE TRIGGER filter_chains_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON filter_chains
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE plugins (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  name text NOT NULL,
  consumer_id uuid,
  service_id uuid,
  route_id uuid,
  config jsonb NOT NULL,
  enabled boolean NOT NULL,
  cache_key text,
  protocols text[],
  tags text[],
  ws_id uuid,
  instance_name text,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT plugins_cache_key_key UNIQUE (cache_key),
  CONSTRAINT plugins_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT plugins_ws_id_instance_name_unique UNIQUE (ws_id, instance_name),
  CONSTRAINT plugins_pkey PRIMARY KEY (id),
  CONSTRAINT plugins_consumer_id_fkey FOREIGN KEY (consumer_id, ws_id) REFERENCES consumers(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT plugins_route_id_fkey FOREIGN KEY (route_id, ws_id) REFERENCES routes(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT plugins_service_id_fkey FOREIGN KEY (service_id, ws_id) REFERENCES services(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT plugins_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX plugins_consumer_id_idx ON plugins (consumer_id);
CREATE INDEX plugins_name_idx ON plugins (name);
CREATE INDEX plugins_route_id_idx ON plugins (route_id);
CREATE INDEX plugins_service_id_idx ON plugins (service_id);
CREATE INDEX plugins_tags_idx ON plugins USING gin (tags);
CREATE TRIGGER plugins_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON plugins
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE oauth2_authorization_codes (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  credential_id uuid,
  service_id uuid,
  code text,
  authenticated_userid text,
  scope text,
  ttl timestamptz,
  challenge text,
  challenge_method text,
  ws_id uuid,
  plugin_id uuid,
  CONSTRAINT oauth2_authorization_codes_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT oauth2_authorization_codes_ws_id_code_unique UNIQUE (ws_id, code),
  CONSTRAINT oauth2_authorization_codes_pkey PRIMARY KEY (id),
  CONSTRAINT oauth2_authorization_codes_credential_id_fkey FOREIGN KEY (credential_id, ws_id) REFERENCES oauth2_credentials(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT oauth2_authorization_codes_plugin_id_fkey FOREIGN KEY (plugin_id) REFERENCES plugins(id) ON DELETE CASCADE,
  CONSTRAINT oauth2_authorization_codes_service_id_fkey FOREIGN KEY (service_id, ws_id) REFERENCES services(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT oauth2_authorization_codes_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX oauth2_authorization_codes_authenticated_userid_idx ON oauth2_authorization_codes (authenticated_userid);
CREATE INDEX oauth2_authorization_codes_ttl_idx ON oauth2_authorization_codes (ttl);
CREATE INDEX oauth2_authorization_credential_id_idx ON oauth2_authorization_codes (credential_id);
CREATE INDEX oauth2_authorization_service_id_idx ON oauth2_authorization_codes (service_id);
CREATE TRIGGER oauth2_authorization_codes_ttl_trigger AFTER INSERT ON oauth2_authorization_codes
  FOR EACH STATEMENT EXECUTE FUNCTION batch_delete_expired_rows('ttl');

CREATE TABLE sm_vaults (
  id uuid NOT NULL,
  ws_id uuid,
  prefix text,
  name text NOT NULL,
  description text,
  config jsonb NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  updated_at timestamptz,
  tags text[],
  CONSTRAINT sm_vaults_id_ws_id_key UNIQUE (id, ws_id),
  CONSTRAINT sm_vaults_prefix_key UNIQUE (prefix),
  CONSTRAINT sm_vaults_prefix_ws_id_key UNIQUE (prefix, ws_id),
  CONSTRAINT sm_vaults_pkey PRIMARY KEY (id),
  CONSTRAINT sm_vaults_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX sm_vaults_tags_idx ON sm_vaults USING gin (tags);
CREATE TRIGGER sm_vaults_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON sm_vaults
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE snis (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  name text NOT NULL,
  certificate_id uuid,
  tags text[],
  ws_id uuid,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT snis_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT snis_name_key UNIQUE (name),
  CONSTRAINT snis_pkey PRIMARY KEY (id),
  CONSTRAINT snis_certificate_id_fkey FOREIGN KEY (certificate_id, ws_id) REFERENCES certificates(id, ws_id),
  CONSTRAINT snis_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX snis_certificate_id_idx ON snis (certificate_id);
CREATE INDEX snis_tags_idx ON snis USING gin (tags);
CREATE TRIGGER snis_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON snis
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE upstreams (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(3) AT TIME ZONE 'UTC'),
  name text,
  hash_on text,
  hash_fallback text,
  hash_on_header text,
  hash_fallback_header text,
  hash_on_cookie text,
  hash_on_cookie_path text,
  slots integer NOT NULL,
  healthchecks jsonb,
  tags text[],
  algorithm text,
  host_header text,
  client_certificate_id uuid,
  ws_id uuid,
  hash_on_query_arg text,
  hash_fallback_query_arg text,
  hash_on_uri_capture text,
  hash_fallback_uri_capture text,
  use_srv_name boolean DEFAULT false,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(0) AT TIME ZONE 'UTC'),
  CONSTRAINT upstreams_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT upstreams_ws_id_name_unique UNIQUE (ws_id, name),
  CONSTRAINT upstreams_pkey PRIMARY KEY (id),
  CONSTRAINT upstreams_client_certificate_id_fkey FOREIGN KEY (client_certificate_id) REFERENCES certificates(id),
  CONSTRAINT upstreams_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX upstreams_fkey_client_certificate ON upstreams (client_certificate_id);
CREATE INDEX upstreams_tags_idx ON upstreams USING gin (tags);
CREATE TRIGGER upstreams_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON upstreams
  FOR EACH ROW EXECUTE FUNCTION sync_tags();

CREATE TABLE targets (
  id uuid NOT NULL,
  created_at timestamptz DEFAULT (CURRENT_TIMESTAMP(3) AT TIME ZONE 'UTC'),
  upstream_id uuid,
  target text NOT NULL,
  weight integer NOT NULL,
  tags text[],
  ws_id uuid,
  cache_key text,
  updated_at timestamptz DEFAULT (CURRENT_TIMESTAMP(3) AT TIME ZONE 'UTC'),
  CONSTRAINT targets_cache_key_key UNIQUE (cache_key),
  CONSTRAINT targets_id_ws_id_unique UNIQUE (id, ws_id),
  CONSTRAINT targets_pkey PRIMARY KEY (id),
  CONSTRAINT targets_upstream_id_fkey FOREIGN KEY (upstream_id, ws_id) REFERENCES upstreams(id, ws_id) ON DELETE CASCADE,
  CONSTRAINT targets_ws_id_fkey FOREIGN KEY (ws_id) REFERENCES workspaces(id)
);
CREATE INDEX targets_tags_idx ON targets USING gin (tags);
CREATE INDEX targets_target_idx ON targets (target);
CREATE INDEX targets_upstream_id_idx ON targets (upstream_id);
CREATE TRIGGER targets_sync_tags_trigger AFTER INSERT OR DELETE OR UPDATE OF tags ON targets
  FOR EACH ROW EXECUTE FUNCTION sync_tags();
