-- Keys by which a chat may subscribe once; only their digests are kept. chat_id: for whom one is reserved.
CREATE TABLE invitations (
    digest bytea PRIMARY KEY,
    enterprise text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    chat_id bigint,
    used_at timestamptz
);
CREATE INDEX invitations_expiry ON invitations (expires_at);

-- The buttons below a message of the preview, row by row, and what a reader wrote there.
ALTER TABLE preview_messages ADD COLUMN markup jsonb NOT NULL DEFAULT '[]';
ALTER TABLE preview_messages ADD COLUMN own boolean NOT NULL DEFAULT false;
