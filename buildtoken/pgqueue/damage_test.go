package pgqueue_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// TestDamagedRecordIsNotMissing damages the records of one table. What needs them returns an error
// and changes nothing. It works again when the records can be read.
func TestDamagedRecordIsNotMissing(t *testing.T) {
	node := queue.Node{Name: "node"}
	for _, tt := range []struct {
		name, table, column string
		needs               map[string]func(ctx context.Context, q *pgqueue.DB) error
	}{
		{"a lane", "lanes", "head", map[string]func(ctx context.Context, q *pgqueue.DB) error{
			"Lanes":     func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Lanes(ctx, []string{"j"}); return err },
			"AllLanes":  func(ctx context.Context, q *pgqueue.DB) error { _, err := q.AllLanes(ctx); return err },
			"Overviews": func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Overviews(ctx, []string{"j"}); return err },
			"Entry":     func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Entry(ctx, start, 2); return err },
			"Items":     func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Items(ctx, start, "", 10); return err },
			"Schedule": func(ctx context.Context, q *pgqueue.DB) error {
				_, _, err := q.Schedule(ctx, start, request("j", "waits"))
				return err
			},
			"Claim": func(ctx context.Context, q *pgqueue.DB) error {
				_, _, err := q.Claim(ctx, start, node, []int{1})
				return err
			},
			"Cancel": func(ctx context.Context, q *pgqueue.DB) error { return q.Cancel(ctx, start, "j", 2, "alice") },
			"Finish": func(ctx context.Context, q *pgqueue.DB) error {
				_, err := q.Finish(ctx, start, "j", 1, queue.Success, "")
				return err
			},
			"SetRules": func(ctx context.Context, q *pgqueue.DB) error { return q.SetRules(ctx, start, queue.Config{}) },
			"Forget":   func(ctx context.Context, q *pgqueue.DB) error { return q.Forget(ctx, "j") },
		}},
		{"a running build", "builds", "body", map[string]func(ctx context.Context, q *pgqueue.DB) error{
			"Build": func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Build(ctx, "j", 1); return err },
			"Entry": func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Entry(ctx, start, 1); return err },
			"Lost":  func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Lost(ctx); return err },
			"Reclaim": func(ctx context.Context, q *pgqueue.DB) error {
				_, err := q.Reclaim(ctx, start, "lost", nil)
				return err
			},
			"Abort": func(ctx context.Context, q *pgqueue.DB) error { return q.Abort(ctx, "j", 1, "alice") },
			"Finish": func(ctx context.Context, q *pgqueue.DB) error {
				_, err := q.Finish(ctx, start, "j", 1, queue.Success, "")
				return err
			},
			"Adopt": func(ctx context.Context, q *pgqueue.DB) error {
				_, err := q.Adopt(ctx, []queue.Build{{Item: queue.Item{Job: "j"}, Number: 1}}, node, []int{0})
				return err
			},
		}},
		{"a cancelled item", "cancelled", "body", map[string]func(ctx context.Context, q *pgqueue.DB) error{
			"Entry": func(ctx context.Context, q *pgqueue.DB) error { _, err := q.Entry(ctx, start, 3); return err },
		}},
		{"the use of a token", "token_uses", "body", map[string]func(ctx context.Context, q *pgqueue.DB) error{
			"TokenUses": func(ctx context.Context, q *pgqueue.DB) error { _, err := q.TokenUses(ctx); return err },
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1", TTL: time.Hour, Log: zap.NewNop()})
			exec := executor(t, s)
			setRules(t, q, map[string]queue.Rules{"j": {Concurrent: true}})
			schedule(t, q, request("j", "runs"))
			claim(t, q, node)
			schedule(t, q, request("j", "waits"))
			gone := schedule(t, q, request("j", "is cancelled"))
			err := errors.Join(q.Cancel(t.Context(), start, "j", gone.ID, "alice"),
				q.SaveTokenUses(t.Context(), start, []queue.TokenUse{{Place: "j", Name: "ci", Uses: 1, First: start, Last: start}}))
			if err != nil {
				t.Fatal(err)
			}
			exec("create table saved as select * from %s", tt.table)
			exec("update %s set "+tt.column+" = '[]'", tt.table)
			for name, do := range tt.needs {
				if err := do(t.Context(), q); !errors.Is(err, queue.ErrStorage) {
					t.Errorf("%s: %v, want %v", name, err, queue.ErrStorage)
				}
			}
			exec("update %s set "+tt.column+" = saved."+tt.column+" from saved", tt.table)
			if b, err := q.Build(t.Context(), "j", 1); err != nil || !b.Running() || b.Abort != "" {
				t.Errorf("the build is %+v, %v; want it running", b, err)
			}
			if items, err := q.Items(t.Context(), start, "", 10); err != nil || len(items) != 1 || items[0].Item.ID != 2 || items[0].Item.Triggers() != 1 {
				t.Errorf("items: %+v, %v; want the one that waits", items, err)
			}
			if l, err := laneOf(t.Context(), q, "j"); err != nil || l.Queued != 1 || len(l.Running) != 1 || !l.Rules.Concurrent || !l.GoneUntil.IsZero() {
				t.Errorf("lane %+v, %v; want one item, one build, and its rules", l, err)
			}
		})
	}
}
