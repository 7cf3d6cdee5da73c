package boltqueue_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// numbered returns a trigger of typical size that equals no other.
func numbered(job string, n int64) queue.Request {
	r := queue.Request{
		Job: job, Delay: time.Hour, Root: "https://ci.example.com",
		Values: []queue.Value{{Name: "REF", Kind: "string", Text: "refs/heads/main"}, {Name: "ENV", Kind: "choice", Text: "staging"}},
		Cause:  queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7", Note: "push", Noted: true, Token: "ci"},
	}
	binary.BigEndian.PutUint64(r.Digest[:], uint64(n))
	return r
}

// counted opens a queue that counts its commits.
func counted(b *testing.B, path string) (*boltqueue.DB, *atomic.Int64) {
	b.Helper()
	commits := new(atomic.Int64)
	q, err := boltqueue.Open(boltqueue.Options{Path: path, Commit: func(tx *bolt.Tx) error {
		commits.Add(1)
		return tx.Commit()
	}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = q.Close() }) // closing twice is allowed
	return q, commits
}

// fill queues n items over 100 jobs.
func fill(b *testing.B, q *boltqueue.DB, n int) {
	b.Helper()
	var next atomic.Int64
	const callers = 256
	done := make(chan error, callers)
	for range callers {
		go func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					done <- nil
					return
				}
				if _, _, err := q.Schedule(b.Context(), start, numbered(fmt.Sprint("filled", i%100), i)); err != nil {
					done <- err
					return
				}
			}
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

// each calls do from that many goroutines, and reports how many calls share a commit.
func each(b *testing.B, callers int, commits *atomic.Int64, do func(n int64) error) {
	var n atomic.Int64
	before := commits.Load()
	b.ReportAllocs()
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	if callers == 1 {
		for b.Loop() {
			if err := do(n.Add(1)); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := do(n.Add(1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	if made := commits.Load() - before; made > 0 {
		b.ReportMetric(float64(n.Load())/float64(made), "triggers/fsync")
	}
}

// BenchmarkSync is the limit of the disk: a page is written and synced. bbolt
// does so twice for a commit.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	page := make([]byte, os.Getpagesize())
	for b.Loop() {
		if _, err := f.WriteAt(page, 0); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScheduleNew(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			q, commits := counted(b, filepath.Join(b.TempDir(), "queue.db"))
			each(b, callers, commits, func(n int64) error {
				_, _, err := q.Schedule(b.Context(), start, numbered(fmt.Sprint("job", n%100), n))
				return err
			})
		})
	}
}

// BenchmarkScheduleNewAfter shows the cost of a queue that was long once: its items are
// cancelled, and most of their records are dropped.
func BenchmarkScheduleNewAfter(b *testing.B) {
	for _, drained := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprint("drained=", drained), func(b *testing.B) {
			q, commits := counted(b, filepath.Join(b.TempDir(), "queue.db"))
			rules := map[string]queue.Rules{}
			for i := range 100 {
				rules[fmt.Sprint("filled", i)] = queue.Rules{KeepBuilds: 1}
			}
			if err := q.SetRules(b.Context(), start, queue.Config{Rules: rules}); err != nil {
				b.Fatal(err)
			}
			fill(b, q, drained)
			drain(b, q)
			for _, callers := range []int{1, 64} {
				b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
					each(b, callers, commits, func(n int64) error {
						_, _, err := q.Schedule(b.Context(), start, numbered("new", int64(callers)<<40+n))
						return err
					})
				})
			}
		})
	}
}

// drain cancels every item.
func drain(b *testing.B, q *boltqueue.DB) {
	b.Helper()
	for {
		entries, err := q.Items(b.Context(), start, "", 10_000)
		if err != nil {
			b.Fatal(err)
		}
		if len(entries) == 0 {
			return
		}
		var cancels sync.WaitGroup
		for worker := range 256 {
			cancels.Go(func() {
				for i := worker; i < len(entries); i += 256 {
					if err := q.Cancel(b.Context(), start, entries[i].Item.Job, entries[i].Item.ID, "alice"); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		cancels.Wait()
	}
}

// BenchmarkScheduleKeyed creates items with a key, in a lane that already has receipts: none,
// many, and many that expire and are dropped meanwhile.
func BenchmarkScheduleKeyed(b *testing.B) {
	for _, bc := range []struct {
		name     string
		receipts int
		age      time.Duration
	}{{"receipts=0", 0, 0}, {"receipts=100000", 100_000, 0}, {"over=100000", 100_000, 2 * queue.KeepReceipts}} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", bc.name, callers), func(b *testing.B) {
				q, commits := counted(b, filepath.Join(b.TempDir(), "queue.db"))
				keyed := func(now time.Time, n int64) error {
					r := numbered("job", n)
					r.Key = new(queue.Digest)
					// The keys have no order, like digests.
					binary.BigEndian.PutUint64(r.Key[:], uint64(n)*0x9e3779b97f4a7c15)
					_, _, err := q.Schedule(b.Context(), now, r)
					return err
				}
				var fill sync.WaitGroup
				for worker := range 256 {
					fill.Go(func() {
						for n := worker; n < bc.receipts; n += 256 {
							if err := keyed(start.Add(-bc.age), 1<<40+int64(n)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				fill.Wait()
				b.ResetTimer()
				each(b, callers, commits, func(n int64) error { return keyed(start, n) })
			})
		}
	}
}

// BenchmarkScheduleNewBehind shows that triggers do not get slower with a long queue.
func BenchmarkScheduleNewBehind(b *testing.B) {
	for _, queued := range []int{0, 100_000, 1_000_000} {
		b.Run(fmt.Sprint("queued=", queued), func(b *testing.B) {
			if testing.Short() && queued > 100_000 {
				b.Skip("fills a file of half a gigabyte")
			}
			q, commits := counted(b, filepath.Join(b.TempDir(), "queue.db"))
			fill(b, q, queued)
			b.ResetTimer()
			each(b, 64, commits, func(n int64) error {
				_, _, err := q.Schedule(b.Context(), start, numbered("filled1", 1<<40+n))
				return err
			})
		})
	}
}

// BenchmarkScheduleJoined triggers one job again and again: its cause is only counted.
func BenchmarkScheduleJoined(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			q, commits := counted(b, filepath.Join(b.TempDir(), "queue.db"))
			r := numbered("job", 1)
			each(b, callers, commits, func(int64) error {
				_, _, err := q.Schedule(b.Context(), start, r)
				return err
			})
		})
	}
}

// BenchmarkBuild runs an item from its trigger to the end of its build.
func BenchmarkBuild(b *testing.B) {
	q, commits := counted(b, filepath.Join(b.TempDir(), "queue.db"))
	if err := q.SetRules(b.Context(), start, queue.Config{Rules: map[string]queue.Rules{"job": {KeepBuilds: 100}}}); err != nil {
		b.Fatal(err)
	}
	r := numbered("job", 1)
	r.Delay = 0
	each(b, 1, commits, func(int64) error {
		if _, _, err := q.Schedule(b.Context(), start, r); err != nil {
			return err
		}
		builds, _, err := q.Claim(b.Context(), start, queue.Node{Name: "node"}, []int{0})
		if err != nil || len(builds) != 1 {
			return fmt.Errorf("%d builds: %w", len(builds), err)
		}
		_, err = q.Finish(b.Context(), start, "job", builds[0].Number, queue.Success, "")
		return err
	})
}

// BenchmarkNext claims while nothing is due, with many jobs.
func BenchmarkNext(b *testing.B) {
	for _, jobs := range []int64{10, 10_000} {
		b.Run(fmt.Sprint("jobs=", jobs), func(b *testing.B) {
			q, _ := counted(b, filepath.Join(b.TempDir(), "queue.db"))
			done := make(chan error, 100)
			for worker := range int64(100) {
				go func() {
					for n := worker; n < jobs; n += 100 {
						if _, _, err := q.Schedule(b.Context(), start, numbered(fmt.Sprint("job", n), 1)); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range 100 {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, next, err := q.Claim(b.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || next.IsZero() {
					b.Fatal(next, err)
				}
			}
		})
	}
}

// BenchmarkItems lists the first page of a long queue, and determines the position of its last
// item.
func BenchmarkItems(b *testing.B) {
	q, _ := counted(b, filepath.Join(b.TempDir(), "queue.db"))
	fill(b, q, 20_000)
	b.Run("first page", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if entries, err := q.Items(b.Context(), start, "", 50); err != nil || len(entries) != 50 {
				b.Fatal(len(entries), err)
			}
		}
	})
	b.Run("position of the last", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if e, err := q.Entry(b.Context(), start, 20_000); err != nil || e.Position != 19_999 {
				b.Fatal(e.Position, err)
			}
		}
	})
}

// BenchmarkOpen opens a file with many items; heap-B/item is the memory for each of them.
func BenchmarkOpen(b *testing.B) {
	for _, queued := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint("queued=", queued), func(b *testing.B) {
			if testing.Short() && queued > 100_000 {
				b.Skip("fills a file of half a gigabyte")
			}
			path := filepath.Join(b.TempDir(), "queue.db")
			q, _ := counted(b, path)
			fill(b, q, queued)
			if err := q.Close(); err != nil {
				b.Fatal(err)
			}
			q = nil
			before := heap()
			var after uint64
			for b.Loop() {
				q, err := boltqueue.Open(boltqueue.Options{Path: path})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				after = heap()
				if err := q.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(after-min(before, after))/float64(queued), "heap-B/item")
		})
	}
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
