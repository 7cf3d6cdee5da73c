package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestModelFinds plays a correct history with one planted fault, and verifies that the model
// finds it.
func TestModelFinds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plant func(*story)
		want  string // a part of the failure; "" if there is none
	}{
		{"nothing if there is no fault", func(*story) {}, ""},
		{"an acknowledged item that is gone", func(s *story) { s.m.missing(1) }, "item 1 of \"wide\" is gone"},
		{"an item that is queued again after it was built", func(s *story) { s.builds(1, 1); s.queues(1) }, "is queued again"},
		{"an item with another number than before", func(s *story) { s.builds(1, 1); s.builds(1, 2) }, "was built (#1) and is built (#2)"},
		{"a number that is assigned twice", func(s *story) {
			s.builds(1, 1)
			s.accept(2, "<c>", true)
			s.causes = []string{"<c>"}
			s.builds(2, 1)
		}, "was item 1 and is item 2"},
		{"an ID that is assigned twice", func(s *story) { s.accept(1, "<c>", true) }, "was assigned again"},
		{"a cause that is missing", func(s *story) { s.causes = s.causes[:1]; s.queues(1) }, "does not have its cause"},
		{"a cause that came once and shows twice", func(s *story) { s.causes = append(s.causes, "<a>"); s.queues(1) }, "which was sent once"},
		{"a cause that was never sent", func(s *story) { s.causes = append(s.causes, "<x>"); s.queues(1) }, "that was never sent"},
		{"a refused trigger that is there", func(s *story) {
			refused := s.send("<r>")
			s.m.answer(refused, answer{status: 503, body: "full"}, now())
			s.causes = append(s.causes, "<r>")
			s.queues(1)
		}, "was refused"},
		{"a trigger in two items", func(s *story) { s.queues(1); s.queues(2) }, "is in item 1 and in item 2"},
		{"other parameters", func(s *story) { s.value = "2"; s.queues(1) }, "has parameters"},
		{"a later due time than promised", func(s *story) { s.due = s.due.Add(time.Minute); s.queues(1) }, "later than promised"},
		{"an earlier due time than any trigger wants", func(s *story) { s.due = s.due.Add(-time.Hour); s.queues(1) }, "before any trigger allowed"},
		{"a build before it is due", func(s *story) { s.started = s.sent.Add(-time.Hour); s.builds(1, 1) }, "before it was due"},
		{"a build that runs twice", func(s *story) { s.writes("start"); s.writes("start") }, "ran twice"},
		{"a trigger that joins a build that has begun", func(s *story) {
			s.started, s.due = s.sent, s.sent
			s.writes("start")
			s.accept(1, "<late>", false)
			s.causes = append(s.causes, "<late>")
			s.builds(1, 1)
		}, "joined build #1 of \"wide\" (item 1), which had begun"},
		{"a build beside another", func(s *story) { s.writes("beside") }, "ran beside another build of the job"},
		{"a build of a cancelled item", func(s *story) { s.m.asked(1); s.cancels(1); s.writes("start") }, "the item was cancelled"},
		{"an item that is cancelled without a request", func(s *story) { s.cancels(1) }, "is cancelled without a request"},
		{"a cancelled item that is queued", func(s *story) { s.m.asked(1); s.m.obeyed(1); s.queues(1) }, "was cancelled, which the server confirmed"},
		{"a success without a trace in the ledger", func(s *story) { s.result = "SUCCESS"; s.builds(1, 1); s.m.settle(now().Add(time.Second)) }, "did not write down"},
		{"a result that changes", func(s *story) {
			s.result = "SUCCESS"
			s.builds(1, 1)
			s.result = "FAILURE"
			s.builds(1, 1)
		}, "was \"SUCCESS\" and is \"FAILURE\""},
		{"a build that is aborted without a request", func(s *story) { s.result = "ABORTED"; s.builds(1, 1) }, "was aborted without a request"},
		{"a build that runs since before the server", func(s *story) { s.m.lives(now().Add(time.Hour)); s.builds(1, 1) }, "runs on record, since before"},
		{"a next number that was there", func(s *story) { s.m.nextShown("wide", 3, 3) }, "the next build of \"wide\" is #3"},
		{"a trigger that joins an item that had left", func(s *story) { s.builds(1, 1); s.accept(1, "<late>", false) }, "which had left the queue"},
		{"a trigger that comes again and gets the same", func(s *story) { s.again("<k>", 2, 2, true) }, ""},
		{"a trigger that comes again and gets another item", func(s *story) { s.again("<k>", 2, 3, true) }, "when it came again, with item 3"},
		{"a trigger that comes again and made an item that it had joined", func(s *story) { s.again("<k>", 1, 1, true) }, "when it came again, with item 1, created true"},
		{"a trigger without an answer that comes again and gets what it made", func(s *story) { s.again("<k>", 0, 2, true) }, ""},
		{"a trigger without an answer that is there and comes again and gets another item", func(s *story) {
			s.causes = append(s.causes, "<k>")
			k := s.send("<k>")
			k.key = "k"
			s.m.keep(k, answer{})
			s.queues(1)
			s.m.answerAgain(k, answer{status: 201, id: 2, created: true})
		}, "was answered with item 2 and is in item 1"},
		{"a number that was never seen", func(s *story) { s.builds(1, 2); s.m.account() }, "the builds [1] were never seen"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			tt.plant(s)
			switch found := strings.Join(s.m.found, "\n"); {
			case tt.want == "" && found != "":
				t.Errorf("found %s", found)
			case !strings.Contains(found, tt.want):
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

// story is a history of one item of the job wide: trigger <a> created it, <b> joined.
type story struct {
	m             *model
	sent          time.Time
	due, started  time.Time
	causes        []string
	value, result string

	// With several servers: which one builds, how long, and why it ended so.
	node, reason string
	duration     time.Duration
}

func begin() *story {
	s := &story{m: newModel(jobs(), func() {}), value: "1", causes: []string{"<a>", "<b>"}}
	s.m.lives(now())
	s.accept(1, "<a>", true)
	s.accept(1, "<b>", false)
	s.sent = s.m.triggers["<a>"][0].sent
	s.due = s.sent.Add(time.Minute)
	s.started = s.sent.Add(2 * time.Minute)
	s.queues(1)
	return s
}

func (s *story) send(cause string) *trigger {
	t := &trigger{job: s.m.jobs["wide"].job, cause: cause, delay: time.Minute, params: map[string]string{"VERSION": "1"}}
	s.m.send(t)
	return t
}

// again sends a trigger with a key twice. The answers are first, where 0 means none, and
// second.
func (s *story) again(cause string, first, second int64, created bool) {
	t := s.send(cause)
	t.key = "k"
	a := answer{status: 201, id: first, created: first > 1}
	if first == 0 {
		a = answer{}
	} else {
		s.m.answer(t, a, now())
	}
	s.m.keep(t, a)
	s.m.answerAgain(t, answer{status: 201, id: second, created: created})
}

func (s *story) accept(id int64, cause string, created bool) {
	t := s.send(cause)
	s.m.answer(t, answer{status: 201, id: id, created: created}, now())
}

func (s *story) actions() string {
	var causes []string
	for _, cause := range s.causes {
		causes = append(causes, fmt.Sprintf(`{"shortDescription": "Started", "note": %q}`, cause))
	}
	return fmt.Sprintf(`[{"parameters": [{"name": "VERSION", "value": %q}]}, {"causes": [%s]}]`, s.value, strings.Join(causes, ","))
}

func (s *story) item(id int64, more string) {
	text := fmt.Sprintf(`{"id": %d, "task": {"url": "http://x/job/wide/"}, "inQueueSince": %d, "actions": %s, %s}`,
		id, s.sent.UnixMilli(), s.actions(), more)
	var j itemJSON
	must(json.Unmarshal([]byte(text), &j))
	s.m.queueShown(j, now())
}

func (s *story) queues(id int64) {
	s.item(id, fmt.Sprintf(`"_class": "hudson.model.Queue$WaitingItem", "timestamp": %d`, s.due.UnixMilli()))
}

func (s *story) cancels(id int64) {
	s.item(id, `"_class": "hudson.model.Queue$LeftItem", "cancelled": true`)
}

func (s *story) builds(id, number int64) {
	text := fmt.Sprintf(`{"number": %d, "queueId": %d, "building": %v, "result": %q, "timestamp": %d, "duration": %d, "builtOn": %q, "description": %q, "actions": %s}`,
		number, id, s.result == "", s.result, s.started.UnixMilli(), s.duration.Milliseconds(), s.node, s.reason, s.actions())
	var j buildJSON
	must(json.Unmarshal([]byte(text), &j))
	s.m.buildShown("wide", j, now())
}

func (s *story) writes(what string) {
	s.m.wrote(entry{
		Job: "wide", Number: 1, Item: 1, What: what, At: s.started, Node: s.node,
		Params: map[string]string{"VERSION": s.value}, Cause: "Started with note: <a>, Started with note: <b>",
	})
}
