package pgqueue_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestLockOfATableStopsNoBuild locks tables for longer than a server may be silent, as vacuum
// full does. The database is reachable, so builds continue.
func TestLockOfATableStopsNoBuild(t *testing.T) {
	for _, lock := range []string{"builds in access exclusive mode", "servers in access exclusive mode", "servers, builds in exclusive mode"} {
		t.Run(lock, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			core, logged := observer.New(zap.WarnLevel)
			var dbs []*pgqueue.DB
			for _, name := range []string{"ci-1", "ci-2"} {
				dbs = append(dbs, open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: name, TTL: 6 * time.Second, Log: zap.New(core)}))
			}
			schedule(t, dbs[0], request("j", "k"))
			b := claimSoon(t, dbs[0], "ci-1")
			tx, err := pgtest.Connect(t, with(s.url, "search_path="+s.schema)).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), "lock table "+lock+"; select pg_sleep(8)"); err != nil {
				t.Fatal(err)
			}
			if left := dbs[0].LeaseRemaining(); left > 6*time.Second {
				t.Errorf("the lease lasts another %v, want no more than a new one", left)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := dbs[0].Finish(t.Context(), start, "j", b.Number, queue.Success, ""); err != nil {
				t.Errorf("end of a build that ran all the time: %v", err)
			}
			for i, q := range dbs {
				select {
				case <-q.CutOff():
					t.Errorf("ci-%d is to stop its builds", i+1)
				default:
				}
			}
			schedule(t, dbs[1], request("j", "after"))
			claimSoon(t, dbs[1], "ci-2")
			said := logged.FilterMessage("the table of servers is locked: heartbeats wait, and builds go on").Len()
			if want := 2 * strings.Count(lock, "servers"); said != want {
				t.Errorf("%d warnings that heartbeats wait, want %d: %v", said, want, logged.All())
			}
		})
	}
}

func TestClockThatDiffers(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name           string
		database, trip time.Duration
		want           time.Duration
		warns          bool
	}{
		{"the same", 10 * time.Millisecond, 20 * time.Millisecond, 0, false},
		{"ahead by five minutes", -5 * time.Minute, 20 * time.Millisecond, 5*time.Minute + 10*time.Millisecond, true},
		{"behind by two seconds", 2 * time.Second, 0, -2 * time.Second, true},
		{"less than can be measured", 1100 * time.Millisecond, 400 * time.Millisecond, -900 * time.Millisecond, false},
		{"by what is allowed", time.Second, 0, -time.Second, false},
		{"more than can be measured, but not by the whole trip", -1300 * time.Millisecond, 600 * time.Millisecond, 1600 * time.Millisecond, true},
		{"more than is allowed, but less than can be measured", 1850 * time.Millisecond, 900 * time.Millisecond, -1400 * time.Millisecond, false},
		{"an answer that took as long as is allowed", -5 * time.Minute, time.Second, 5*time.Minute + 500*time.Millisecond, true},
		{"an answer that took too long", time.Hour, 2 * time.Second, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logger, lines := observer.New(zap.InfoLevel)
			var clock pgqueue.Clock
			for range 2 { // the warning is logged once
				if got := clock.Compare(zap.New(logger), now.Add(tt.database), now, now.Add(tt.trip)); got != tt.want {
					t.Errorf("the clock is ahead by %v, want %v", got, tt.want)
				}
			}
			warned := lines.Len() == 1 && lines.All()[0].Level == zap.WarnLevel
			if warned != tt.warns || lines.Len() > 1 {
				t.Errorf("logged %v, want a warning: %v", lines.All(), tt.warns)
			}
			for range 2 {
				clock.Compare(zap.New(logger), now, now, now)
			}
			again := lines.FilterMessageSnippet("agrees with that of the database again").Len()
			if (again == 1) != tt.warns || again > 1 {
				t.Errorf("logged %v once the clocks agree, want a line: %v", lines.All(), tt.warns)
			}
		})
	}
	if offset := open(t, newStore(t).options()).ClockOffset(); offset.Abs() > time.Second {
		t.Errorf("ClockOffset on one machine = %v", offset)
	}
}
