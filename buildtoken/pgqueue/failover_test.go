package pgqueue_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue/pgtest"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// host is the folder of a server's socket.
func host(t *testing.T, of *pgtest.Server) string {
	t.Helper()
	parsed, err := url.Parse(of.URL())
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Query().Get("host")
}

// TestFailoverFromAMachineThatIsGone has nobody tell those who have a connection that the
// primary is not there any more: what they ask hangs.
func TestFailoverFromAMachineThatIsGone(t *testing.T) {
	const connections = 4
	primary := pgtest.Start(t)
	standby, either := pgtest.Standby(t, primary)
	w := newWire(t, host(t, primary))
	either = with(strings.Replace(either, host(t, primary), w.dir, 1), fmt.Sprint("pool_max_conns=", connections))
	q := open(t, pgqueue.Options{URL: either, Schema: "ci", Timeout: 5 * time.Second, TTL: 9 * time.Second, Log: zap.NewNop()})
	t.Cleanup(func() { w.set(nil, true) })
	schedule(t, q, request("j", "before"))
	conn := pgtest.Connect(t, with(primary.URL(), "search_path=ci"))
	for made := 0; made < connections+1; { // one more listens
		var reading sync.WaitGroup
		for range 2 * connections {
			reading.Go(func() {
				if _, err := q.Items(t.Context(), start, "j", 10); err != nil {
					t.Errorf("Items = %v", err)
				}
			})
		}
		reading.Wait()
		if err := conn.QueryRow(t.Context(), "select count(*) from pg_stat_activity where application_name = 'buildtoken'").Scan(&made); err != nil {
			t.Fatal(err)
		}
	}
	// Connections that have just been used are used again without a look at them.
	for idle := false; !idle; {
		if err := conn.QueryRow(t.Context(), `select min(clock_timestamp() - state_change) > interval '1.2s' from pg_stat_activity
			where application_name = 'buildtoken' and query not like '%servers%'`).Scan(&idle); err != nil {
			t.Fatal(err)
		}
	}
	w.silence()
	if err := errors.Join(primary.Kill(), standby.Promote()); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for ; ; refused++ {
		_, _, err := q.Schedule(t.Context(), start, request("j", "after"))
		if err == nil {
			break
		}
		if !errors.Is(err, queue.ErrStorage) {
			t.Fatalf("Schedule = %v, want %v or nothing", err, queue.ErrStorage)
		}
	}
	if refused > 1 {
		t.Errorf("%d triggers were refused, want one at most: not one for each connection that hangs", refused)
	}
	for !(<-q.Notices()).All { // it listens again
	}
	if builds := claim(t, q, queue.Node{Name: "node"}); len(builds) != 1 || builds[0].Item.ID != 1 {
		t.Errorf("Claim: %v, want the build of before", builds)
	}
}
