package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
)

// Backup writes a consistent copy of the queue to a new file while the queue is in use,
// and returns its size in bytes when the copy is durable. The copy holds everything that was
// answered before the call. Backup returns an error if the file exists. It removes a copy
// that could not be completed.
//
// Triggers and builds go on meanwhile. Only a commit that has to enlarge the file's memory
// mapping waits for the copy, so the copy belongs on a local disk. A commit that fails ends the
// copy with an error, because the queue cannot read its file again before.
func (q *DB) Backup(ctx context.Context, path string) (size int64, err error) {
	failures := q.failures.Load() // before ask, which waits for a commit that fails now
	// Counts that wait for a commit are part of what was answered.
	if err := q.ask(ctx, request{decide: func(b *batch) error {
		b.flush = true
		return nil
	}}); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path comes from the operator
	if err != nil {
		return 0, fmt.Errorf("boltqueue: back up: %w", err)
	}
	err = q.view(func(tx *bolt.Tx) (err error) {
		size, err = tx.WriteTo(&untilDone{f, func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if q.failures.Load() != failures {
				return errInterrupted
			}
			return nil
		}})
		return err
	})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, errors.Join(fmt.Errorf("boltqueue: back up: %w", err), os.Remove(path))
	}
	return size, q.opts.SyncDir(filepath.Dir(path))
}

// errInterrupted ends a backup after a commit has failed.
var errInterrupted = errors.New("the queue could not be written meanwhile; try again")

// untilDone is a writer to f that fails once done returns an error.
type untilDone struct {
	f    *os.File
	done func() error
}

func (w *untilDone) Write(p []byte) (int, error) {
	if err := w.done(); err != nil {
		return 0, err
	}
	return w.f.Write(p)
}

// Verify returns an error unless a file is a complete queue of this program: every page and
// every record of it can be read, and they agree. The file is only read. If a process has it
// open for writing, the error after a second is [ErrLocked].
func Verify(path string) error {
	err := inspect(path, 0, func(tx *bolt.Tx) error {
		if err := guard(path, func() error { return newMemory().read(tx, zap.NewNop()) }); err != nil {
			return err
		}
		r := recordsOf(tx, path)
		return errors.Join(readAll(r.Lanes), readAll(r.Items), readAll(r.Builds), readAll(r.Cancelled), readAll(r.Receipts),
			readAll(r.Summaries), readAll(r.Notifications), readAll(r.TokenUses))
	})
	if errors.Is(err, errRecord) {
		err = fmt.Errorf("%w: %s %s: %w", ErrForeign, path, torn, err)
	}
	return err
}

func readAll[T any](records iter.Seq2[T, error]) error {
	for _, err := range records {
		if err != nil {
			return err
		}
	}
	return nil
}
