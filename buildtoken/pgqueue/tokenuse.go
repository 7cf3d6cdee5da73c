package pgqueue

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// SaveTokenUses replaces this server's records of these tokens, and drops those of tokens that
// were not used for [queue.KeepTokenUses]. Each server has its own records, so a statement
// that is sent twice counts each use once.
func (q *DB) SaveTokenUses(ctx context.Context, now time.Time, uses []queue.TokenUse) error {
	const sql = `with old as (delete from queue.token_uses where last < $6)
		insert into queue.token_uses (server, place, name, last, body)
		select $1, * from unnest($2::text[], $3::text[], $4::bigint[], $5::text[]) as u (place, name, last, body)
		on conflict (server, place, name) do update set last = excluded.last, body = excluded.body`
	var places, names, bodies []string
	var lasts []int64
	for _, u := range uses {
		body, err := encode(u)
		if err != nil {
			return err
		}
		places, names, bodies, lasts = append(places, u.Place), append(names, u.Name), append(bodies, body), append(lasts, u.Last.UnixNano())
	}
	args := []any{q.opts.Server, places, names, lasts, bodies, now.Add(-queue.KeepTokenUses).UnixNano()}
	return q.query(ctx, sql, args, func(rows pgx.Rows) error {
		for rows.Next() {
		}
		return rows.Err()
	})
}

// TokenUses returns the uses of tokens as each server has counted them, by place and name.
func (q *DB) TokenUses(ctx context.Context) ([]queue.TokenUse, error) {
	var all []queue.TokenUse
	const sql = "select server, body from queue.token_uses order by place, name, server"
	err := q.query(ctx, sql, nil, func(rows pgx.Rows) error {
		all = nil
		var server, body string
		return forEach(rows, []any{&server, &body}, func() error {
			u, err := decode[queue.TokenUse](body, "use of a token")
			u.Elsewhere = server != q.opts.Server
			all = append(all, u)
			return err
		})
	})
	return all, err
}

// tokenUseRow has the values of a row of token_uses for a server.
func tokenUseRow(server string) func(queue.TokenUse) ([]any, error) {
	return func(u queue.TokenUse) ([]any, error) {
		body, err := encode(u)
		return []any{server, u.Place, u.Name, u.Last.UnixNano(), body}, err
	}
}
