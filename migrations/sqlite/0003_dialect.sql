-- In which of the two shapes a key's lists are answered: data or items.
ALTER TABLE api_key ADD COLUMN dialect TEXT NOT NULL DEFAULT 'data';
