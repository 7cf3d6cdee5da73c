package boltqueue_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
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

// The limit is exactly 256 MiB. An instant that cannot be written saves the test from writing so much.
func TestParametersHave256MiB(t *testing.T) {
	q := open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db"), Log: zap.NewNop()})
	mebibyte := strings.Repeat("x", 1<<20) // once in memory
	r := request("a", "large")
	r.Values = slices.Repeat([]queue.Value{{Text: mebibyte}}, 256)
	cannot := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, _, err := q.Schedule(t.Context(), cannot, r); errors.Is(err, queue.ErrFull) || !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Schedule with 256 MiB = %v, want room for it", err)
	}
	r.Values = append(r.Values, queue.Value{Text: mebibyte[:1<<10]})
	if _, _, err := q.Schedule(t.Context(), cannot, r); !errors.Is(err, queue.ErrFull) {
		t.Errorf("Schedule with one KiB more = %v, want %v", err, queue.ErrFull)
	}
	// Any other limit is taken as it is.
	q = open(t, boltqueue.Options{Path: filepath.Join(t.TempDir(), "queue.db"), MaxKiB: 1})
	r.Values = []queue.Value{{Text: mebibyte[:2<<10]}}
	if _, _, err := q.Schedule(t.Context(), start, r); !errors.Is(err, queue.ErrFull) {
		t.Errorf("Schedule with more than the limit of one KiB = %v, want %v", err, queue.ErrFull)
	}
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
