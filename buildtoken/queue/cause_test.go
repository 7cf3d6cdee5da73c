package queue_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func TestCauseString(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   queue.Cause
		want string
	}{
		{"a token without a note", queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7", Token: "ci"}, "Started by remote host 192.0.2.7"},
		{"a token with a note", queue.Cause{Kind: queue.CauseRemote, Addr: "2001:db8::1", Note: "push to main", Noted: true}, "Started by remote host 2001:db8::1 with note: push to main"},
		{"an empty note was given", queue.Cause{Kind: queue.CauseRemote, Addr: "192.0.2.7", Noted: true}, "Started by remote host 192.0.2.7 with note: "},
		{"a user", queue.Cause{Kind: queue.CauseUser, User: "alice"}, "Started by user alice"},
		{"a user with a note", queue.Cause{Kind: queue.CauseUser, User: "alice", Note: "again", Noted: true}, "Started by user alice with note: again"},
		{"polling has no note", queue.Cause{Kind: queue.CauseSCM, Note: "ignored", Noted: true}, "Started by an SCM change"},
		{"a webhook", queue.Cause{Kind: queue.CauseWebhook, Webhook: "github", Note: "push to main", Noted: true}, "Started by webhook github with note: push to main"},
		{"a kind of a newer program", queue.Cause{Kind: "timer"}, "Started by timer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.in.String(); got != tt.want {
				t.Errorf("String() = %q, want %q", got, tt.want)
			}
		})
	}
}

// joinAll schedules the first cause and joins the others.
func joinAll(t *testing.T, causes ...queue.Cause) queue.Item {
	t.Helper()
	change := schedule(t, queue.Lane{Job: "j"}, nil, queue.Request{ID: 1, Cause: causes[0]})
	for _, c := range causes[1:] {
		change = schedule(t, change.Lane, change.Item, queue.Request{ID: 9, Cause: c})
	}
	return *change.Item
}

func TestCausesFoldInOrderOfFirstOccurrence(t *testing.T) {
	push, cron := queue.Cause{Kind: queue.CauseRemote, Note: "push", Noted: true}, queue.Cause{Kind: queue.CauseRemote, Note: "cron", Noted: true}
	empty, none := queue.Cause{Kind: queue.CauseRemote, Noted: true}, queue.Cause{Kind: queue.CauseRemote}
	elsewhere := queue.Cause{Kind: queue.CauseRemote, Note: "push", Noted: true, Addr: "192.0.2.9"}
	counted := func(c queue.Cause, n int) queue.Cause {
		c.Count = n
		return c
	}
	for _, tt := range []struct {
		name     string
		in, want []queue.Cause
	}{
		{"one", []queue.Cause{push}, []queue.Cause{counted(push, 1)}},
		{"the same three times", []queue.Cause{push, push, push}, []queue.Cause{counted(push, 3)}},
		{"a repeated one keeps its place", []queue.Cause{push, cron, push}, []queue.Cause{counted(push, 2), counted(cron, 1)}},
		{"an empty note is not no note", []queue.Cause{empty, none, empty}, []queue.Cause{counted(empty, 2), counted(none, 1)}},
		{"another client is another cause", []queue.Cause{push, elsewhere}, []queue.Cause{counted(push, 1), counted(elsewhere, 1)}},
		{"a count that the caller gives is ignored", []queue.Cause{counted(push, 40), counted(push, 50)}, []queue.Cause{counted(push, 2)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			it := joinAll(t, tt.in...)
			if diff := cmp.Diff(tt.want, it.Causes); diff != "" {
				t.Errorf("causes (-want +got):\n%s", diff)
			}
			if got := it.Triggers(); got != len(tt.in) {
				t.Errorf("Triggers() = %d, want %d", got, len(tt.in))
			}
		})
	}
}

func TestCausesAreCapped(t *testing.T) {
	var in []queue.Cause
	for i := range queue.MaxCauses + 10 {
		in = append(in, queue.Cause{Kind: queue.CauseRemote, Note: fmt.Sprint(i), Noted: true})
	}
	in = append(in, in[0], in[queue.MaxCauses-1], in[queue.MaxCauses])
	it := joinAll(t, in...)
	if queue.MaxCauses != 50 {
		t.Errorf("MaxCauses = %d, the documents say 50", queue.MaxCauses)
	}
	if len(it.Causes) != queue.MaxCauses || it.MoreCauses != 11 {
		t.Errorf("%d causes and %d more, want %d and 11", len(it.Causes), it.MoreCauses, queue.MaxCauses)
	}
	more := queue.Request{ID: 1, Job: "j", Cause: queue.Cause{Kind: queue.CauseUser, User: "one more"}}
	if change, err := queue.Schedule(start, queue.Lane{Job: "j", Queued: 1}, &it, more, queue.Room{Limit: 10}); err != nil || !change.Lazy || change.Item.MoreCauses != 12 {
		t.Errorf("one more cause: %+v, %v, want a change of a count", change, err)
	}
	if first, last := it.Causes[0].Count, it.Causes[queue.MaxCauses-1].Count; first != 2 || last != 2 {
		t.Errorf("counts of known causes = %d and %d, want 2 and 2", first, last)
	}
	if got := it.Triggers(); got != len(in) {
		t.Errorf("Triggers() = %d, want %d", got, len(in))
	}
}

func TestJoinLeavesTheCallersItemAlone(t *testing.T) {
	cause := queue.Cause{Kind: queue.CauseRemote, Note: "push", Noted: true}
	first := schedule(t, queue.Lane{Job: "j"}, nil, queue.Request{ID: 1, Delay: time.Minute, Cause: cause})
	before := *first.Item
	before.Causes = append([]queue.Cause{}, before.Causes...)
	for range 3 {
		schedule(t, first.Lane, first.Item, queue.Request{Cause: cause})
		schedule(t, first.Lane, first.Item, queue.Request{Cause: queue.Cause{Kind: queue.CauseUser, User: "alice"}})
	}
	if diff := cmp.Diff(before, *first.Item); diff != "" {
		t.Errorf("the item that was joined changed (-before +after):\n%s", diff)
	}
}
