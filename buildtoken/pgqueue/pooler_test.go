package pgqueue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// TestPoolerInSessionMode opens a queue through PgBouncer, with its defaults and with common
// settings, while another server is connected directly.
func TestPoolerInSessionMode(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	for name, settings := range map[string][]string{
		"by default":                      {"pool_mode = session"},
		"that ignores startup parameters": {"pool_mode = session", "ignore_startup_parameters = search_path,statement_timeout,jit"},
	} {
		t.Run(name, func(t *testing.T) {
			schema := pgtest.Schema(t, server.URL())
			direct := open(t, pgqueue.Options{URL: server.URL(), Schema: schema, Server: "ci-1"})
			pooler := pgtest.Pooler(t, server, settings...)
			pooled := open(t, pgqueue.Options{URL: pooler.URL(), Schema: schema, Server: "ci-2"})
			if direct.Identity() != pooled.Identity() {
				t.Errorf("the identity of the queue is %s, and %s through the pooler", direct.Identity(), pooled.Identity())
			}
			if first, second := schedule(t, direct, request("a", "k")), schedule(t, pooled, request("b", "k")); second.ID <= first.ID {
				t.Errorf("items %d and %d; want consecutive numbers of one queue", first.ID, second.ID)
			}
			var jobs []string
			for range 2 {
				builds, _, err := pooled.Claim(t.Context(), start, queue.Node{Name: "ci-2"}, []int{0})
				if err != nil || len(builds) != 1 {
					t.Fatalf("Claim: %v, %v", builds, err)
				}
				jobs = append(jobs, builds[0].Item.Job)
				if _, err := pooled.Finish(t.Context(), start, builds[0].Item.Job, builds[0].Number, queue.Success, ""); err != nil {
					t.Fatal(err)
				}
			}
			if jobs[0] != "a" || jobs[1] != "b" {
				t.Errorf("through the pooler %v were built, want a and b", jobs)
			}
			var tables int
			sql := "select count(*) from pg_tables where schemaname = 'public'"
			if err := pgtest.Connect(t, server.URL()).QueryRow(t.Context(), sql).Scan(&tables); err != nil || tables != 0 {
				t.Errorf("there are %d tables in the schema public, %v", tables, err)
			}
		})
	}
}

// TestPoolerInTransactionModeIsRefused tries each mode of pgx for such a pooler. In some of
// them a queue seems to work.
func TestPoolerInTransactionModeIsRefused(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	for name, settings := range map[string][]string{
		"of one connection": {"pool_mode = transaction", "default_pool_size = 1"},
		"of many":           {"pool_mode = transaction"},
		"in turns":          {"pool_mode = transaction", "server_round_robin = 1", "min_pool_size = 5"},
		"for statements":    {"pool_mode = statement"},
	} {
		t.Run(name, func(t *testing.T) {
			pooler := pgtest.Pooler(t, server, settings...)
			for _, mode := range []string{"", "default_query_exec_mode=exec", "default_query_exec_mode=simple_protocol"} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				_, err := pgqueue.Open(ctx, pgqueue.Options{URL: with(pooler.URL(), mode), Schema: "refused"})
				cancel()
				if !errors.Is(err, pgqueue.ErrPooler) {
					t.Errorf("Open with %q: %v, want %v", mode, err, pgqueue.ErrPooler)
				}
			}
			var exists bool
			sql := "select exists (select from pg_namespace where nspname = 'refused')"
			if err := pgtest.Connect(t, server.URL()).QueryRow(t.Context(), sql).Scan(&exists); err != nil || exists {
				t.Errorf("the schema was made: %v, %v", exists, err)
			}
		})
	}
}
