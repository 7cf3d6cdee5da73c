package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// slots limits how many connections are used to transfer logs and files at the same
// time, so that some are left for triggers.
type slots chan struct{}

// enter blocks until a slot is free; leave releases it.
func (s slots) enter(ctx context.Context) (leave func(), err error) {
	if ctx.Err() == nil {
		select {
		case s <- struct{}{}:
			return func() { <-s }, nil
		case <-ctx.Done():
		}
	}
	return nil, fmt.Errorf("pgqueue: %w", context.Cause(ctx))
}

// filePart is how many bytes of a file one row holds.
const filePart = 256 << 10

// PutFile stores the content of a file parameter under a reference, completely or not
// at all, and returns when it is durable. A reference must be used only once. An error
// of from is returned unchanged.
func (q *DB) PutFile(ctx context.Context, ref string, from io.Reader) error {
	if err := q.ask(ctx); err != nil {
		return err
	}
	leave, err := q.bulk.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var broken error
	err = pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		buf := make([]byte, filePart)
		for part := 0; ; part++ {
			n, err := io.ReadFull(from, buf)
			done := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
			if err != nil && !done {
				broken = err
				return err
			}
			if n > 0 || part == 0 { // an empty file is one, too
				if err := q.putPart(ctx, tx, ref, part, buf[:n]); err != nil {
					return err
				}
			}
			if done {
				return nil
			}
		}
	})
	switch {
	case broken != nil:
		return broken
	case err != nil:
		return fmt.Errorf("%w: store file: %w", queue.ErrStorage, err)
	}
	return nil
}

func (q *DB) putPart(ctx context.Context, tx pgx.Tx, ref string, part int, p []byte) error {
	ctx, cancel := context.WithTimeout(ctx, q.opts.Timeout)
	defer cancel()
	_, err := tx.Exec(ctx, q.names.in("insert into queue.uploads (ref, part, body) values ($1, $2, $3)"), ref, part, p)
	return err
}

// GetFile writes the content that was stored under a reference. It returns
// queue.ErrNotFound if there is none. An error of to is returned unchanged.
func (q *DB) GetFile(ctx context.Context, ref string, to io.Writer) error {
	leave, err := q.bulk.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for part := 0; ; part++ {
		var body []byte // nil: there is no such part
		err := q.query(ctx, "select body from queue.uploads where ref = $1 and part = $2", []any{ref, part}, func(rows pgx.Rows) error {
			found, err := column[[]byte](rows)
			if len(found) > 0 {
				body = found[0]
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case body == nil && part == 0:
			return fmt.Errorf("%w: file of a parameter", queue.ErrNotFound)
		case body == nil:
			return nil
		}
		if _, err := to.Write(body); err != nil {
			return err
		}
	}
}

// DropFiles drops the content of references. Files of items that have left the queue,
// or whose build has ended, are dropped without it.
func (q *DB) DropFiles(ctx context.Context, refs ...string) error {
	if err := q.ask(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, q.opts.Timeout)
	defer cancel()
	if _, err := q.pool.Exec(ctx, q.names.in(dropFiles), refs); err != nil {
		return fmt.Errorf("%w: drop files: %w", queue.ErrStorage, err)
	}
	return nil
}

const dropFiles = "delete from queue.uploads where ref = any($1)"

// SweepFiles drops files that are older than an hour and not among the references to
// keep. A younger file may belong to a trigger that another server is about to queue.
func (q *DB) SweepFiles(ctx context.Context, keep []string) error {
	if err := q.ask(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, q.opts.Timeout)
	defer cancel()
	const sql = "delete from queue.uploads where made < now() - interval '1 hour' and not (ref = any($1))"
	if keep == nil {
		keep = []string{} // null would keep all
	}
	if _, err := q.pool.Exec(ctx, q.names.in(sql), keep); err != nil {
		return fmt.Errorf("%w: sweep files: %w", queue.ErrStorage, err)
	}
	return nil
}

// writeFiles drops the files of items that have left the queue and of ended builds.
func (l *locked) writeFiles(b *pgx.Batch) {
	var refs []string
	drop := func(it queue.Item) {
		for _, v := range it.Values {
			if v.Ref != "" {
				refs = append(refs, v.Ref)
			}
		}
	}
	for _, build := range l.builds {
		if !build.Running() {
			drop(build.Item)
		}
	}
	for _, gone := range l.cancelled {
		drop(gone.Item)
	}
	if len(refs) > 0 {
		b.Queue(dropFiles, refs)
	}
}
