package pages_test

import (
	"net/http"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

func TestFormShowsTheQuietPeriod(t *testing.T) {
	onSite(t, jobs(at("now", writes("")), waits("later")), func(s *site) {
		s.holds(s.page("/job/now/"), "0s starts at once. Empty: 0 ms.")
		s.holds(s.page("/job/later/"), "0s starts at once. Empty: 1 h.")
	})
}

func TestTitleStartsWithTheState(t *testing.T) {
	onSite(t, jobs(at("never", writes("")), at("ok", writes("")), at("bad", fails(runner.Failure, "exit 1")), at("long", hangs(""))), func(s *site) {
		s.holds(s.page("/queue/"), "<title>Queue</title>", "Nothing is queued.")
		s.holds(s.page("/computer/"), "<title>Executors</title>")
		s.holds(s.page("/"), "<title>Jobs</title>")
		for _, full := range []string{"ok", "bad", "long"} {
			s.trigger(full, nil)
		}
		s.triggerIn("never", "1h")
		s.settle()
		for path, want := range map[string]string{
			"/job/never/": "Never built · never", "/job/ok/": "Success · ok", "/job/bad/": "Failed · bad", "/job/long/": "Running · long",
			"/job/ok/1/": "Success · ok #1", "/job/bad/1/console": "Failed · bad #1", "/job/long/1/": "Running · long #1",
			"/queue/item/4/": "Quiet period · Queue item 4 of never",
			"/":              "1 failing · Jobs", "/queue/": "1 queued · Queue", "/computer/": "1 busy · Executors",
		} {
			s.holds(s.page(path), "<title>"+want+"</title>")
		}
		for path, icon := range map[string]string{
			"/job/never/": "icon", "/job/ok/1/": "icon-success", "/job/bad/": "icon-failure", "/job/long/1/console": "icon-running",
			"/queue/item/4/": "icon-waiting", "/queue/": "icon", "/": "icon-failure",
		} {
			s.holds(s.page(path), `<link rel="icon" href="/ci/queue/-/assets/`+icon+`.`)
		}
		// An open page receives the new counts.
		out, _, stop := s.open("/queue/-/events/job/long/1/", "alice")
		defer stop()
		out.drain()
		if w := s.post("/job/long/1/stopForm", "alice", nil); w.Code != http.StatusSeeOther {
			s.Fatalf("stop = %d, want 303", w.Code)
		}
		s.settle()
		text := out.drain()
		s.holds(text, `"title":"Aborted · long #1"`, `"icon":"/ci/queue/-/assets/icon-aborted.`)
	})
}
