package pgqueue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrKey is returned when this server has another key than the queue.
var ErrKey = errors.New("pgqueue: the key of this server is not that of the queue")

// UseKey makes sure that all servers of the queue have the same key. fingerprint must
// identify the key without revealing anything about it. The first key becomes the key
// of the queue. Another one replaces it if nothing is queued and no other server is
// there; otherwise UseKey returns [ErrKey].
func (q *DB) UseKey(ctx context.Context, fingerprint []byte) error {
	return q.decide(ctx, func(ctx context.Context, t *tx) error {
		var known []byte
		var queued int
		var others []string
		b := t.batch()
		b.Queue("insert into queue.queue_key (fingerprint) values ($1) on conflict do nothing", fingerprint)
		b.Queue("select fingerprint from queue.queue_key for update").QueryRow(scan(&known))
		b.Queue("select sum(queued)::int from queue.counts").QueryRow(scan(&queued))
		b.Queue(`select server::text from queue.servers where server <> $1 and not released
			and clock_timestamp() < beat + ttl * interval '1 second' order by server`, q.opts.Server).Query(into(&others, column[string]))
		if err := t.send(ctx, b); err != nil {
			return err
		}
		if bytes.Equal(known, fingerprint) {
			return nil
		}
		var why []string
		if queued > 0 {
			why = append(why, "what is queued needs that")
		}
		if len(others) > 0 {
			why = append(why, "other servers use that ("+strings.Join(others, ", ")+")")
		}
		if len(why) > 0 {
			return fmt.Errorf("%w: %s; name the same key for every server, as in: key {file./run/secrets/build_token.key}",
				ErrKey, strings.Join(why, " and "))
		}
		t.last = t.batch()
		t.last.Queue("update queue.queue_key set fingerprint = $1", fingerprint)
		return nil
	})
}
