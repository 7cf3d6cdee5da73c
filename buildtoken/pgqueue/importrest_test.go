package pgqueue_test

import (
	"errors"
	"iter"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/pgqueue"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/internal/pgtest"
)

// What an import copies beside the queue.
var (
	importedSummary      = queue.Summary{Job: "j", Recent: []queue.Ended{{Number: 3, Result: queue.Success, Started: start}}}
	importedUse          = queue.TokenUse{Place: "j", Name: "ci", Uses: 9, First: start, Last: start.Add(time.Minute), From: []netip.Addr{netip.MustParseAddr("192.0.2.7")}}
	importedNotification = queue.Notification{ID: 41, Target: "chat", Job: "j", Item: 6, Event: queue.EventQueued, At: start, State: queue.DeliveryWaiting, Tries: 2, Next: start, Until: start.Add(time.Hour), Error: "503"}
)

// allRecords returns records of each kind.
func allRecords() queue.Records {
	from := everyKind().records()
	from.LastNotification = 50
	from.Summaries = sequence([]queue.Summary{importedSummary}, nil)
	from.Notifications = sequence([]queue.Notification{importedNotification}, nil)
	from.TokenUses = sequence([]queue.TokenUse{importedUse}, nil)
	return from
}

// TestImportOfSummariesAndNotifications imports the records that belong to no item of the queue.
func TestImportOfSummariesAndNotifications(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	waits := importedNotification
	sent := waits
	sent.ID, sent.Job, sent.State, sent.Settled, sent.Error = 40, "i", queue.DeliverySent, start.Add(time.Minute), ""
	givenUp := sent
	givenUp.ID, givenUp.Target, givenUp.State, givenUp.Error = 42, "hook", queue.DeliveryGivenUp, "410"
	from := allRecords()
	from.Notifications = sequence([]queue.Notification{sent, waits, givenUp}, nil)
	if _, err := pgqueue.Import(t.Context(), pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"}, from, pgqueue.Contents{}); err != nil {
		t.Fatal(err)
	}
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"})
	ctx := t.Context()
	if all, err := q.Overviews(ctx, []string{"j"}); err != nil || cmp.Diff(importedSummary, all[0].Summary) != "" {
		t.Errorf("Overviews = %+v, %v; want the summary %+v", all, err, importedSummary)
	}
	found, err := q.Notifications(ctx, queue.NotificationFilter{})
	if diff := cmp.Diff([]queue.Notification{givenUp, waits, sent}, found); diff != "" || err != nil {
		t.Errorf("Notifications: %v (-want +got):\n%s", err, diff)
	}
	backlogs, err := q.Backlogs(ctx)
	if diff := cmp.Diff([]queue.Backlog{{Target: "chat", Waiting: 1, Oldest: start}, {Target: "hook", GivenUp: 1}}, backlogs); diff != "" || err != nil {
		t.Errorf("Backlogs: %v (-want +got):\n%s", err, diff)
	}
	uses, err := q.TokenUses(ctx)
	if diff := cmp.Diff([]queue.TokenUse{importedUse}, uses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("TokenUses: %v (-want +got):\n%s", err, diff)
	}
	setRules(t, q, map[string]queue.Rules{"new": {Notify: []queue.Target{{Name: "chat", On: []queue.Condition{queue.OnQueued}}}}})
	schedule(t, q, request("new", "k"))
	if found, err := q.Notifications(ctx, queue.NotificationFilter{Job: "new"}); err != nil || len(found) != 1 || found[0].ID != 51 {
		t.Errorf("the next notification is %+v, %v; want the ID 51", found, err)
	}
}

// TestImportCountsAnew imports lanes whose counts of records are wrong, as after a damage.
func TestImportCountsAnew(t *testing.T) {
	t.Parallel()
	s, m := newStore(t), everyKind()
	m.lanes[1] = queue.Lane{Job: "j", Queued: 2, Running: []int64{4, 7}, LastNumber: 5, Kept: 9, KeptCancelled: 9, Receipts: 9}
	m.builds = append([]queue.Build{{Item: queue.Item{ID: 5, Job: "j"}, Number: 7, Started: start}}, m.builds...)
	m.items[0].Values = []queue.Value{{Name: "A", Kind: "text", Text: strings.Repeat("x", 3<<10)}}
	m.lanes[0].Queued = 2
	for id, due := range map[int64]time.Duration{21: 5 * time.Second, 22: 2 * time.Second} {
		m.items = append(m.items, queue.Item{ID: id, Job: "i", Due: start.Add(due), Digest: queue.Digest{byte(id)}})
	}
	if _, err := importInto(t, s, m); err != nil {
		t.Fatal(err)
	}
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema, Server: "new"})
	builds, _, err := q.Claim(t.Context(), start.Add(time.Hour), queue.Node{Name: "new"}, []int{0})
	if err != nil || len(builds) != 1 || builds[0].Item.ID != 22 {
		t.Errorf("Claim = %v, %v; want the item that is due first", builds, err)
	}
	want := queue.Lane{Job: "j", Queued: 2, Running: []int64{4, 7}, LastNumber: 7, Kept: 1, KeptCancelled: 1, Receipts: 1}
	got, err := laneOf(t.Context(), q, "j")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("lane: %v (-want +got):\n%s", err, diff)
	}
	var items, kib int
	if err := pgtest.Connect(t, s.url).QueryRow(t.Context(), "select sum(queued), sum(kib) from "+s.schema+".counts").Scan(&items, &kib); err != nil || items != 3 || kib != 3 {
		t.Errorf("counted %d items and %d KiB, %v; want 3 and 3", items, kib, err)
	}
}

func TestImportOfAnEmptyQueue(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	moved, err := pgqueue.Import(t.Context(), pgqueue.Options{URL: s.url, Schema: s.schema}, queue.Records{NextID: 1, Lanes: sequence[queue.Lane](nil, nil)}, pgqueue.Contents{})
	if want := (pgqueue.Imported{Identity: moved.Identity}); err != nil || moved != want {
		t.Fatalf("Import = %+v, %v; want nothing", moved, err)
	}
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema})
	setRules(t, q, map[string]queue.Rules{"j": {Notify: []queue.Target{{Name: "chat", On: []queue.Condition{queue.OnQueued}}}}})
	it := schedule(t, q, request("j", "k"))
	found, err := q.Notifications(t.Context(), queue.NotificationFilter{})
	if it.ID != 1 || err != nil || len(found) != 1 || found[0].ID != 1 {
		t.Errorf("item %d and notifications %+v, %v; want 1 and 1", it.ID, found, err)
	}
}

// TestImportOfOneItem starts the only item of a job.
func TestImportOfOneItem(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	one := queue.Records{Lanes: sequence([]queue.Lane{{Job: "j", Queued: 1}}, nil), Items: sequence([]queue.Item{{ID: 1, Job: "j", Due: start}}, nil)}
	if _, err := pgqueue.Import(t.Context(), s.options(), one, pgqueue.Contents{}); err != nil {
		t.Fatal(err)
	}
	if builds := claim(t, open(t, s.options()), queue.Node{Name: "new"}); len(builds) != 1 || builds[0].Item.ID != 1 {
		t.Errorf("Claim: %v, want the item", builds)
	}
}

// TestImportThatStops has records of each kind fail, and the commit. Nothing is imported, and what
// provides the records can release what it holds.
func TestImportThatStops(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	broken := errors.New("record 7 is damaged")
	stops := func(what string, from queue.Records, want string) {
		t.Helper()
		if moved, err := pgqueue.Import(t.Context(), pgqueue.Options{URL: s.url, Schema: s.schema}, from, pgqueue.Contents{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Import when %s: %+v, %v; want %q", what, moved, err, want)
		}
	}
	from := everyKind().records()
	from.Lanes = sequence([]queue.Lane{{Job: "i"}}, broken)
	stops("a lane cannot be read", from, broken.Error())
	from = everyKind().records()
	from.Cancelled = sequence([]queue.Cancelled{{Item: queue.Item{ID: 4, Job: "k"}}}, nil)
	stops("an item was cancelled of an unknown job", from, `cancelled item 4 of "k", which has no lane`)
	from = everyKind().records()
	from.Receipts = sequence([]queue.JobReceipt{{Job: "k", Receipt: queue.Receipt{Item: 6}}}, nil)
	stops("a receipt is of an unknown job", from, `receipt for item 6 of "k", which has no lane`)
	for _, edit := range []func(){
		func() { from.Summaries = sequence[queue.Summary](nil, broken) },
		func() { from.Notifications = sequence[queue.Notification](nil, broken) },
		func() { from.TokenUses = sequence[queue.TokenUse](nil, broken) },
	} {
		from = everyKind().records()
		edit()
		stops("another record cannot be read", from, broken.Error())
	}
	if s.exists(t) {
		t.Error("the schema was made nevertheless")
	}
	released := false
	from = everyKind().records()
	from.Items = releases(&released, from.Items)
	from.Receipts = sequence[queue.JobReceipt](nil, broken)
	from.Builds = sequence([]queue.Build{{Item: queue.Item{ID: 1, Job: "k"}, Number: 1}}, nil)
	stops("a build is of an unknown job", from, `build 1 of "k"`)
	if !released {
		t.Error("the records that were read are not released")
	}
	released = false
	items := everyKind().items
	items[0].Job = "k"
	from.Items = releases(&released, sequence(items, nil))
	stops("the first of several items is of an unknown job", from, `item 1 of "k"`)
	if !released {
		t.Error("the records that were not read to their end are not released")
	}
	if err := open(t, pgqueue.Options{URL: s.url, Schema: s.schema}).Close(); err != nil {
		t.Fatal(err)
	}
	executor(t, s)(`create function fails() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$;
		create constraint trigger fails after insert on lanes deferrable initially deferred for each row execute function fails()`)
	stops("the commit fails", everyKind().records(), "commit: ")
	q := open(t, pgqueue.Options{URL: s.url, Schema: s.schema})
	if lanes, err := q.AllLanes(t.Context()); err != nil || len(lanes) != 0 {
		t.Errorf("lanes after imports that failed: %v, %v; want none", lanes, err)
	}
}

// releases notes when a sequence has ended, in whatever way.
func releases[T any](released *bool, from iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		defer func() { *released = true }()
		from(yield)
	}
}
