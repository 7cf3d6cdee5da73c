package pgqueue_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
	"github.com/buildtoken/buildtoken/internal/queuetest"
)

// The counts, which are kept in parts, must equal those of the items after any changes.
func TestCountsAreThoseOfTheItems(t *testing.T) {
	s := newStore(t)
	q := open(t, s.options())
	for _, key := range []string{"a", "b", "c", "d"} {
		r := request("j", key)
		r.Values = []queue.Value{{Name: "A", Kind: "text", Text: strings.Repeat(key, 3<<10)}}
		schedule(t, q, r)
	}
	if builds, _, err := q.Claim(t.Context(), start, queue.Node{Name: "node"}, []int{0}); err != nil || len(builds) != 1 {
		t.Fatalf("Claim: %v, %v", builds, err)
	}
	if err := q.Cancel(t.Context(), start, "j", 2, "alice"); err != nil {
		t.Fatal(err)
	}
	const sql = "select sum(queued), sum(kib), (select count(*) from items), (select sum(kib) from items) from counts"
	var counted, countedKiB, items, kib int
	row := pgtest.Connect(t, with(s.url, "search_path="+s.schema)).QueryRow(t.Context(), sql)
	if err := row.Scan(&counted, &countedKiB, &items, &kib); err != nil {
		t.Fatal(err)
	}
	if counted != 2 || items != 2 || countedKiB != 6 || kib != 6 {
		t.Errorf("counted %d items and %d KiB; there are %d and %d, want 2 and 6", counted, countedKiB, items, kib)
	}
}

func TestParametersAreBoundedByDefault(t *testing.T) {
	s := newStore(t)
	queuetest.ParametersAreBoundedByDefault(t, open(t, pgqueue.Options{URL: s.url, Schema: s.schema}))
}

func TestParametersAreBoundedToOneKiB(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, MaxKiB: 1})
	schedule(t, q, request("j", "small"))
	r := request("j", "large")
	r.Values = []queue.Value{{Name: "A", Kind: "text", Text: strings.Repeat("x", 2<<10)}}
	if _, _, err := q.Schedule(t.Context(), start, r); !errors.Is(err, queue.ErrFull) {
		t.Errorf("Schedule of 2 KiB = %v, want %v", err, queue.ErrFull)
	}
}

// TestRefusesWhileTheDatabaseCannotBeWritten has inserts fail as on a full disk and on a standby,
// while everything can be read.
func TestRefusesWhileTheDatabaseCannotBeWritten(t *testing.T) {
	s := newStore(t)
	q := open(t, s.options())
	conn := pgtest.Connect(t, with(s.url, "search_path="+s.schema))
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for _, tt := range []struct {
		name, code string
		refuses    bool
	}{{"full disk", "53100", true}, {"standby", "25006", true}, {"a failure of this trigger only", "22000", false}} {
		t.Run(tt.name, func(t *testing.T) {
			schedule(t, q, request("j", tt.code+" before"))
			exec("create function fails() returns trigger language plpgsql as $$ begin raise exception using errcode = '" + tt.code + "'; end $$; " +
				"create trigger fails before insert on items for each row execute function fails()")
			if _, _, err := q.Schedule(t.Context(), start, request("j", tt.code)); !errors.Is(err, queue.ErrStorage) {
				t.Errorf("Schedule: %v, want %v", err, queue.ErrStorage)
			}
			if err := q.Refuses(); (err != nil) != tt.refuses {
				t.Errorf("Refuses = %v, want %v", err, tt.refuses)
			}
			exec("drop function fails cascade")
			schedule(t, q, request("j", tt.code))
			if err := q.Refuses(); err != nil {
				t.Errorf("Refuses = %v after a trigger was accepted", err)
			}
		})
	}
}
