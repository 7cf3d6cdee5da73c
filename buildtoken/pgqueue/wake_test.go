package pgqueue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/pgqueue/pgtest"
)

// TestOthersAreToldAndHeard listens as another server would, and tells something
// as it would.
func TestOthersAreToldAndHeard(t *testing.T) {
	s := newStore(t)
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema})
	other := pgtest.Connect(t, s.url)
	if _, err := other.Exec(t.Context(), fmt.Sprintf("listen %q", "buildtoken "+s.schema)); err != nil {
		t.Fatal(err)
	}
	r := request("j", "k")
	r.Delay = time.Minute
	schedule(t, q, r)
	notice, err := other.WaitForNotification(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint(" ", start.Add(time.Minute).UnixNano()); !strings.HasSuffix(notice.Payload, want) {
		t.Errorf("told %q, want when the item is due, %q, at the end", notice.Payload, want)
	}
	<-q.Changed() // its own trigger
	if _, err := other.Exec(t.Context(), "select pg_notify($1, 'other 1')", "buildtoken "+s.schema); err != nil {
		t.Fatal(err)
	}
	<-q.Changed()
}
