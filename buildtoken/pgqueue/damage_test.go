package pgqueue_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

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

// TestDamagedRecordIsLeftOut damages records that the others do not need. They are left out, and the
// log names them.
func TestDamagedRecordIsLeftOut(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	core, logged := observer.New(zap.ErrorLevel)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "ci-1", TTL: time.Hour, Log: zap.New(core)})
	exec := executor(t, s)
	ctx := t.Context()
	setRules(t, q, map[string]queue.Rules{"j": {Concurrent: true}})
	for _, key := range []string{"ends", "runs", "runs too", "waits", "waits too"} {
		r := request("j", key)
		r.Key = &r.Digest
		r.Values = []queue.Value{{Name: "FILE", Kind: "file", Text: "f", Ref: "file of what " + key}}
		schedule(t, q, r)
		if strings.HasPrefix(key, "waits") {
			continue
		}
		b := claim(t, q, queue.Node{Name: "node"})[0]
		if key == "ends" {
			if _, err := q.Finish(ctx, start, "j", b.Number, queue.Success, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	overview := func() (ended []int64, err error) {
		all, err := q.Overviews(ctx, []string{"j"})
		if err == nil {
			for _, e := range all[0].Summary.Recent {
				ended = append(ended, e.Number)
			}
		}
		return ended, err
	}
	for _, tt := range []struct {
		name, damage, logs string
		read               func() (any, error)
		want               any
	}{
		{
			"an item with a file", "update items set body = '[]' where id = 5", "item can't be read",
			func() (any, error) { return q.Refs(ctx) },
			[]string{"file of what runs", "file of what runs too", "file of what waits"},
		},
		{
			"a running build with a file", "update items set files = false where id = 5; update builds set body = '[]' where number = 3", "item can't be read",
			func() (any, error) { return q.Refs(ctx) },
			[]string{"file of what runs", "file of what waits"},
		},
		{"a build", "delete from items where id = 5", "build can't be read", func() (any, error) {
			var numbers []int64
			builds, err := q.Builds(ctx, "j", 0, 10)
			for _, b := range builds {
				numbers = append(numbers, b.Number)
			}
			return numbers, err
		}, []int64{2, 1}},
		{"a summary", "update summaries set body = '[]'", "cannot read the summary", func() (any, error) { return overview() }, []int64(nil)},
		{"a summary of a job of which a build ends", "delete from builds where number = 3", "cannot read the summary", func() (any, error) {
			_, err := q.Finish(ctx, start, "j", 2, queue.Success, "")
			return err, err
		}, nil},
		{"a summary that has started again", "update lanes set next = next", "", func() (any, error) { return overview() }, []int64{2}},
		{"a receipt", "update receipts set body = '[]'", "receipt of a trigger can't be read", func() (any, error) {
			r := request("j", "waits")
			r.Key = &r.Digest
			_, created, err := q.Schedule(ctx, start, r)
			return created, err
		}, false},
	} {
		exec(tt.damage)
		logged.TakeAll()
		got, err := tt.read()
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
		if lines := logged.FilterMessageSnippet(tt.logs).Len(); lines == 0 && tt.logs != "" || tt.logs == "" && logged.Len() > 0 {
			t.Errorf("%s: logged %v, want %q", tt.name, logged.All(), tt.logs)
		}
	}
}

// TestDamagedLaneOfAJobThatIsGone damages the lane of a job that no server has.
func TestDamagedLaneOfAJobThatIsGone(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, s.options())
	schedule(t, q, request("j", "k"))
	setRules(t, q, map[string]queue.Rules{})
	if gone, err := q.Gone(t.Context()); err != nil || len(gone) != 1 {
		t.Fatalf("Gone: %v, %v; want the job", gone, err)
	}
	executor(t, s)(`update lanes set head = '{"gone_until": "never"}'`)
	if gone, err := q.Gone(t.Context()); !errors.Is(err, queue.ErrStorage) {
		t.Errorf("Gone with a damaged lane: %v, %v; want %v", gone, err, queue.ErrStorage)
	}
}

// TestAdoptionThatContradictsTheLane takes over a build of which the lane of its job knows nothing.
func TestAdoptionThatContradictsTheLane(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]string{
		"there is no lane":              "delete from lanes",
		"the lane does not say it runs": `update lanes set head = (head::jsonb - 'running')::json`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			q := open(t, s.options())
			b := running(t, q, "j")
			executor(t, s)(spoil)
			if adopted, err := q.Adopt(t.Context(), []queue.Build{b}, queue.Node{Name: "other"}, []int{3}); err == nil || len(adopted) != 0 {
				t.Errorf("Adopt: %v, %v; want an error", adopted, err)
			}
			if on, err := q.Build(t.Context(), "j", b.Number); err != nil || on.Node != b.Node {
				t.Errorf("Build: %+v, %v; want it on %s as before", on, err, b.Node)
			}
		})
	}
}
