package boltqueue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// TestPageDamagedInUse damages a page of an open file, once for each bucket, and tries every
// operation. Each either does what it does with the whole file, or fails without any effect.
func TestPageDamagedInUse(t *testing.T) {
	whole := manyOfEveryKind(t)
	pages := map[string]int64{}
	edit(t, whole, func(tx *bolt.Tx) error {
		size := int64(tx.DB().Info().PageSize)
		pages["the list of buckets"] = int64(tx.Cursor().Bucket().Root()) * size
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			if root := int64(b.Root()); root != 0 {
				pages[string(name)] = root * size
			} else if string(name) != "meta" {
				t.Errorf("bucket %s has no page of its own", name)
			}
			return nil
		})
	})
	for name, operate := range operations() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var path string
				reopen := func() *boltqueue.DB {
					path = copyFile(t, whole)
					q := open(t, boltqueue.Options{Path: path, Log: zap.NewNop(), Commit: unsynced})
					if err := q.SetRules(t.Context(), start, inUseRules()); err != nil {
						t.Fatal(err)
					}
					return q
				}
				q := reopen()
				before := stockOf(t, q)
				want, wantErr := operate(t, q)
				done := stockOf(t, q)
				changes := differ(before, done) != ""
				for _, page := range slices.Sorted(maps.Keys(pages)) {
					if changes {
						q = reopen()
					}
					repair := damage(t, path, pages[page])
					got, err := operate(t, q)
					repair()
					time.Sleep(2 * boltqueue.Retry)
					synctest.Wait()
					expected := done
					if errors.Is(err, queue.ErrStorage) || errors.Is(err, boltqueue.ErrForeign) {
						expected = before
					} else if diff := differ(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
						t.Errorf("with a damaged page of %s, the error is %v, want %v, and the answer (-want +got):\n%s", page, err, wantErr, diff)
					}
					if diff := differ(expected, stockOf(t, q)); diff != "" {
						t.Errorf("after a damaged page of %s, and the error %v, there is (-want +got):\n%s", page, err, diff)
					}
				}
			})
		})
	}
}

// differ is cmp.Diff, but quick if there is no difference.
func differ(a, b any) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

// damage overwrites the start of a page of an open file, and returns what repairs it unless the
// page was written again.
func damage(t *testing.T, path string, at int64) (repair func()) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := make([]byte, 64), bytes.Repeat([]byte{0}, 64)
	_, err = file.ReadAt(good, at)
	_, werr := file.WriteAt(bad, at)
	if err := errors.Join(err, werr); err != nil {
		t.Fatal(err)
	}
	return func() {
		now := make([]byte, len(bad))
		_, err := file.ReadAt(now, at)
		if err == nil && bytes.Equal(now, bad) {
			_, err = file.WriteAt(good, at)
		}
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func inUseRules() queue.Config {
	always := []queue.Target{{Name: "chat", On: []queue.Condition{queue.OnQueued, queue.OnAlways}}}
	rules := map[string]queue.Rules{
		"a": {Concurrent: true, KeepBuilds: 1, Notify: always}, "b": {Notify: always}, "new": {},
	}
	for _, job := range others() {
		rules[job] = queue.Rules{Notify: always}
	}
	return queue.Config{Rules: rules}
}

// others are jobs with names that fill pages.
func others() (jobs []string) {
	for n := range 6 {
		jobs = append(jobs, fmt.Sprint("other", n, strings.Repeat("x", 250)))
	}
	return jobs
}

// manyOfEveryKind returns a file with enough records that each bucket but meta has pages of its
// own. Of the job a, build 1 has ended, 2 and 3 run, and 2 was asked to stop; item 4 was
// cancelled, 5 waits and has a file, and another one is due and has a key. No server has the job
// gone. Notifications 2 and 3 were given up.
func manyOfEveryKind(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "queue.db")
	q := open(t, boltqueue.Options{Path: path, Log: zap.NewNop(), Commit: unsynced})
	ctx := t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	claim := func() {
		t.Helper()
		_, _, err := q.Claim(ctx, start, queue.Node{Name: "node"}, []int{0})
		do(err)
	}
	end := func(job string) {
		t.Helper()
		_, err := q.Finish(ctx, start, job, 1, queue.Failure, "exit status 1")
		do(err)
	}
	do(q.SetRules(ctx, start, inUseRules()))
	schedule(t, q, request("a", "1"))
	claim()
	end("a")
	for _, key := range []string{"2", "3"} {
		schedule(t, q, request("a", key))
		claim()
	}
	do(q.Abort(ctx, "a", 2, "alice"))
	schedule(t, q, request("a", "4"))
	do(q.Cancel(ctx, start, "a", 4, "alice"))
	waits := request("a", "5")
	waits.Delay, waits.Values = time.Hour, []queue.Value{{Name: "FILE", Kind: "file", Text: "f.txt", Ref: "ref"}}
	schedule(t, q, waits)
	for _, id := range []int64{2, 3} {
		_, err := q.SettleNotification(ctx, start, id, queue.Attempt{Error: "500", GiveUp: true})
		do(err)
	}
	var uses []queue.TokenUse
	for _, job := range others() {
		schedule(t, q, request(job, "ends"))
		claim()
		end(job)
		cancelled := schedule(t, q, request(job, "is cancelled"))
		do(q.Cancel(ctx, start, job, cancelled.ID, "alice"))
		keyed := keyedRequest(job, "waits", 'k')
		keyed.Delay = time.Hour
		schedule(t, q, keyed)
		uses = append(uses, queue.TokenUse{Place: job, Name: "ci", Uses: 1, First: start, Last: start})
	}
	schedule(t, q, keyedRequest("a", "6", 'k'))
	gone := keyedRequest("gone", "ends", 'k')
	gone.Delay = time.Hour
	last := schedule(t, q, gone)
	do(q.Cancel(ctx, start, "gone", last.ID, "alice"))
	do(q.SaveTokenUses(ctx, start, uses))
	do(q.Close())
	return path
}

// stock is everything that a queue reports.
type stock struct {
	Lanes         []queue.Lane
	Overviews     []queue.Overview
	Items         []queue.Entry
	Entries       []queue.Entry
	Builds        []queue.Build
	Lost          []queue.Build
	Refs          []string
	Notifications []queue.Notification
	Backlogs      []queue.Backlog
	Uses          []queue.TokenUse
}

func stockOf(t *testing.T, q *boltqueue.DB) (s stock) {
	t.Helper()
	ctx := t.Context()
	var errs [9]error
	s.Lanes, errs[0] = q.AllLanes(ctx)
	s.Overviews, errs[1] = q.Overviews(ctx, []string{"a", "b", "gone"})
	s.Items, errs[2] = q.Items(ctx, start, "", 1000)
	s.Lost, errs[3] = q.Lost(ctx)
	s.Builds, errs[4] = q.Builds(ctx, "a", 0, 1000)
	s.Refs, errs[5] = q.Refs(ctx)
	s.Notifications, errs[6] = q.Notifications(ctx, queue.NotificationFilter{})
	s.Backlogs, errs[7] = q.Backlogs(ctx)
	s.Uses, errs[8] = q.TokenUses(ctx)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for id := range int64(8) {
		e, err := q.Entry(ctx, start, id)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			t.Fatal(err)
		}
		s.Entries = append(s.Entries, e)
	}
	return s
}

// operations are the methods of a queue, with arguments that make them do something to the file
// of [manyOfEveryKind].
func operations() map[string]func(t *testing.T, q *boltqueue.DB) (any, error) {
	type operation = func(t *testing.T, q *boltqueue.DB) (any, error)
	asks := func(r queue.Request) operation {
		return func(t *testing.T, q *boltqueue.DB) (any, error) {
			it, created, err := q.Schedule(t.Context(), start.Add(time.Minute), r)
			return []any{it, created}, err
		}
	}
	only := func(do func(q *boltqueue.DB, ctx context.Context) error) operation {
		return func(t *testing.T, q *boltqueue.DB) (any, error) { return nil, do(q, t.Context()) }
	}
	joins := request("a", "5")
	joins.Cause.Note = "another"
	build := func(number int64) queue.Build { return queue.Build{Item: queue.Item{Job: "a"}, Number: number} }
	return map[string]operation{
		"Schedule a new item":            asks(request("new", "k")),
		"Schedule a join":                asks(joins),
		"Schedule with a new key":        asks(keyedRequest("a", "7", 'n')),
		"Schedule with a key again":      asks(keyedRequest("a", "6", 'k')),
		"Schedule with a reused key":     asks(keyedRequest("a", "7", 'k')),
		"Cancel an item":                 only(func(q *boltqueue.DB, ctx context.Context) error { return q.Cancel(ctx, start, "a", 5, "bob") }),
		"Cancel an item that has left":   only(func(q *boltqueue.DB, ctx context.Context) error { return q.Cancel(ctx, start, "a", 4, "bob") }),
		"Cancel an item of no job":       only(func(q *boltqueue.DB, ctx context.Context) error { return q.Cancel(ctx, start, "a", 999, "bob") }),
		"Abort a build":                  only(func(q *boltqueue.DB, ctx context.Context) error { return q.Abort(ctx, "a", 3, "bob") }),
		"Abort a build that has ended":   only(func(q *boltqueue.DB, ctx context.Context) error { return q.Abort(ctx, "a", 1, "bob") }),
		"Store a handle":                 only(func(q *boltqueue.DB, ctx context.Context) error { return q.SetHandle(ctx, "a", 3, []byte("h")) }),
		"Forget a job":                   only(func(q *boltqueue.DB, ctx context.Context) error { return q.Forget(ctx, "gone") }),
		"Retry what was given up":        only(func(q *boltqueue.DB, ctx context.Context) error { return q.RetryNotification(ctx, start, 3) }),
		"Retry a notification of no job": only(func(q *boltqueue.DB, ctx context.Context) error { return q.RetryNotification(ctx, start, 999) }),
		"Save uses of tokens": only(func(q *boltqueue.DB, ctx context.Context) error {
			return q.SaveTokenUses(ctx, start, []queue.TokenUse{{Place: "a", Name: "ci", Uses: 7, First: start, Last: start}})
		}),
		"Change rules": only(func(q *boltqueue.DB, ctx context.Context) error {
			return q.SetRules(ctx, start, queue.Config{Rules: map[string]queue.Rules{"gone": {}}})
		}),
		"Claim builds": func(t *testing.T, q *boltqueue.DB) (any, error) {
			builds, next, err := q.Claim(t.Context(), start.Add(2*time.Hour), queue.Node{Name: "node"}, []int{3, 4, 5})
			return []any{builds, next}, err
		},
		"Finish a build": func(t *testing.T, q *boltqueue.DB) (any, error) {
			return q.Finish(t.Context(), start.Add(time.Minute), "a", 3, queue.Success, "")
		},
		"Adopt builds": func(t *testing.T, q *boltqueue.DB) (any, error) {
			return q.Adopt(t.Context(), []queue.Build{build(1), build(3), build(2)}, queue.Node{Name: "next"}, []int{7, 8, 9})
		},
		"Reclaim builds": func(t *testing.T, q *boltqueue.DB) (any, error) {
			return q.Reclaim(t.Context(), start, "lost", func(b queue.Build) bool { return b.Number == 3 })
		},
		"Settle a notification": func(t *testing.T, q *boltqueue.DB) (any, error) {
			return q.SettleNotification(t.Context(), start, 4, queue.Attempt{})
		},
		"Notifications": func(t *testing.T, q *boltqueue.DB) (any, error) {
			return q.Notifications(t.Context(), queue.NotificationFilter{})
		},
		"Notifications of a job": func(t *testing.T, q *boltqueue.DB) (any, error) {
			return q.Notifications(t.Context(), queue.NotificationFilter{Job: "a"})
		},
		"Entry of an item":     func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Entry(t.Context(), start, 5) },
		"Entry of a build":     func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Entry(t.Context(), start, 1) },
		"Entry of a cancelled": func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Entry(t.Context(), start, 4) },
		"Items":                func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Items(t.Context(), start, "", 5) },
		"Build":                func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Build(t.Context(), "a", 2) },
		"Builds":               func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Builds(t.Context(), "a", 0, 5) },
		"Oldest":               func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Oldest(t.Context(), "a") },
		"Refs":                 func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Refs(t.Context()) },
		"Lost":                 func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Lost(t.Context()) },
		"Overviews":            func(t *testing.T, q *boltqueue.DB) (any, error) { return q.Overviews(t.Context(), []string{"b", "a"}) },
		"TokenUses":            func(t *testing.T, q *boltqueue.DB) (any, error) { return q.TokenUses(t.Context()) },
	}
}
