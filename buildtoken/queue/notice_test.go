package queue_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func TestNoticeAnd(t *testing.T) {
	var many []int64
	for n := range int64(1001) {
		many = append(many, n)
	}
	for _, tt := range []struct {
		name       string
		a, b, want queue.Notice
	}{
		{"two empty notices", queue.Notice{}, queue.Notice{}, queue.Notice{}},
		{
			"what both name is there once",
			queue.Notice{Items: []int64{2, 1}, Jobs: []string{"b"}},
			queue.Notice{Items: []int64{2, 3}, Jobs: []string{"a", "b"}, Lost: true},
			queue.Notice{Items: []int64{1, 2, 3}, Jobs: []string{"a", "b"}, Lost: true},
		},
		{"all without names", queue.Notice{Items: []int64{1}}, queue.Notice{All: true, Jobs: []string{"a"}}, queue.Notice{All: true}},
		{"a thousand names are not too many", queue.Notice{Items: many[:998]}, queue.Notice{Jobs: []string{"a"}, Logs: []string{"a"}}, queue.Notice{Items: many[:998], Jobs: []string{"a"}, Logs: []string{"a"}}},
		{"a thousand and one are", queue.Notice{Items: many[:999]}, queue.Notice{Jobs: []string{"a"}, Logs: []string{"a"}}, queue.Notice{All: true}},
		{"too many are all", queue.Notice{Lost: true}, queue.Notice{Items: many}, queue.Notice{All: true, Lost: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.a.Merge(tt.b)); diff != "" {
				t.Errorf("And (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoticeOfOneThingEach(t *testing.T) {
	got := queue.Notice{Items: []int64{1}, Jobs: []string{"a"}, Logs: []string{"a"}}.Merge(
		queue.Notice{Items: []int64{2}, Jobs: []string{"b"}, Logs: []string{"b"}, Queued: true})
	want := queue.Notice{Items: []int64{1, 2}, Jobs: []string{"a", "b"}, Logs: []string{"a", "b"}, Queued: true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("And (-want +got):\n%s", diff)
	}
}

func TestOnlyLogs(t *testing.T) {
	logs := []string{"a"}
	for _, tt := range []struct {
		in   queue.Notice
		want bool
	}{
		{queue.Notice{}, false},
		{queue.Notice{Logs: logs}, true},
		{queue.Notice{Logs: logs, All: true}, false},
		{queue.Notice{Logs: logs, Queued: true}, false},
		{queue.Notice{Logs: logs, Lost: true}, false},
		{queue.Notice{Logs: logs, Items: []int64{1}}, false},
		{queue.Notice{Logs: logs, Jobs: logs}, false},
		{queue.Notice{Items: []int64{1}}, false},
	} {
		if got := tt.in.OnlyLogs(); got != tt.want {
			t.Errorf("OnlyLogs of %+v = %v, want %v", tt.in, got, tt.want)
		}
	}
}
