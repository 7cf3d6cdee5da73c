package boltqueue_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/queuetest"
)

func TestQueue(t *testing.T) {
	queuetest.Run(t, func(t *testing.T) queuetest.Store { return store{filepath.Join(t.TempDir(), "queue.db")} })
}

func TestParametersAreBoundedByDefault(t *testing.T) {
	queuetest.ParametersAreBoundedByDefault(t, open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db")}))
}

// store is a file that contains a queue.
type store struct{ path string }

func (s store) Open(t *testing.T) queuetest.Queue {
	return open(t, boltqueue.Options{Path: s.path, MaxKiB: queuetest.MaxKiB})
}

// Copy copies the file. A power failure leaves the same content if nothing writes at that
// moment.
func (s store) Copy(t *testing.T) queuetest.Store {
	t.Helper()
	return store{copyFile(t, s.path)}
}

func copyFile(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return to
}

func open(t *testing.T, opts boltqueue.Options) *boltqueue.DB {
	t.Helper()
	if opts.Log == nil {
		opts.Log = zaptest.NewLogger(t)
	}
	q, err := boltqueue.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() }) // closing twice is allowed
	return q
}

// laneOf returns the lane of one job.
func laneOf(ctx context.Context, q interface {
	Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error)
}, job string,
) (queue.Lane, error) {
	lanes, err := q.Lanes(ctx, []string{job})
	if err != nil {
		return queue.Lane{}, err
	}
	return lanes[0], nil
}
