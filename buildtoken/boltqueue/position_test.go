package boltqueue_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// Positions count the items of all jobs that are due before, up to 20,000.
func TestPositions(t *testing.T) {
	const n = 20_003
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path})
	for job := range 3 {
		schedule(t, q, request(fmt.Sprint("job", job), "k"))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	place := rand.New(rand.NewPCG(1, 2)).Perm(n) // of the item with each ID; item 0 is none
	edit(t, path, func(tx *bolt.Tx) error {
		queued := map[string]int{}
		for id := int64(1); id < n; id++ {
			it := queue.Item{ID: id, Job: fmt.Sprint("job", id%3), Since: start, Due: start.Add(time.Duration(place[id]) * time.Second)}
			raw, err := boltqueue.EncodeItem(&it)
			if err != nil {
				return err
			}
			if err := tx.Bucket([]byte("items")).Put(key(uint64(id)), raw); err != nil {
				return err
			}
			queued[it.Job]++
		}
		for job, n := range queued {
			if err := tx.Bucket([]byte("lanes")).Put([]byte(job), fmt.Appendf(nil, `{"job": %q, "queued": %d}`, job, n)); err != nil {
				return err
			}
		}
		return nil
	})
	q = open(t, boltqueue.Options{Path: path})
	for id := int64(1); id < n; id++ {
		want := place[id]
		if want > place[0] {
			want-- // there is no item 0
		}
		if id > 200 && want > 20 && want < 19_990 {
			continue
		}
		if want > 20_000 {
			want = -1
		}
		if e, err := q.Entry(t.Context(), start, id); err != nil || e.Position != want {
			t.Errorf("item %d is at %d, %v; want %d", id, e.Position, err, want)
		}
	}
}
