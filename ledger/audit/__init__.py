"""What can be shown to a stranger: canonical entries, their RFC 6962 tree, signed checkpoints, receipts.

The tables, as ledger/schema.py declares them (all keys begin with `account_id`; hashes are 32 raw bytes):

- `audit_entry`    account_id, seq (0, 1, 2 ... without a gap), at_us, kind, subject_type, subject_id,
                   body (the canonical bytes that are hashed), leaf. Primary key (account_id, seq); index
                   (account_id, subject_type, subject_id, seq). INSERT only. The columns beside `body`
                   repeat what it says, for queries; `verify` holds them to it.
- `audit_payload`  account_id, seq, salt (16 bytes or NULL), body (bytes or NULL), erased_by (seq of the
                   `payload.erased` entry, or NULL). Only entries with a payload have a row. INSERT, and one
                   UPDATE that sets salt and body to NULL and erased_by to a seq; never DELETE.
- `log_node`       account_id, level (1 and up; level 0 is audit_entry.leaf), position, hash. Primary key
                   (account_id, level, position). INSERT only; written when a subtree is complete.
- `log_head`       account_id, size, epoch, frontier (the hashes of the complete subtrees, largest first,
                   32 bytes each). One row per account, updated under the account's lock.
- `checkpoint`     account_id, size, previous (the size of the one before, 0 at first), root, note (text),
                   key_id (8 hex digits). Primary key (account_id, size). INSERT only. It has no time,
                   since a note signs none.
"""
