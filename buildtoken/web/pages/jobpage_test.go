package pages_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// looks is a poller made of a function.
type looks func() (bool, error)

func (l looks) Poll(_ context.Context, _ runner.Build, log io.Writer) (bool, error) {
	_, _ = io.WriteString(log, "Done. Took a look\nChanges found, says the program\n")
	return l()
}

func TestJobPageShowsTheLastPoll(t *testing.T) {
	var found bool
	var problem error
	j := at("app", writes(""))
	j.Poller = looks(func() (bool, error) { return found, problem })
	onSite(t, jobs(j, at("plain", writes(""))), func(s *site) {
		s.holds(s.page("/job/app/"), "Polls for changes. This server has not polled yet.")
		s.lacks(s.page("/job/plain/"), "Polls")
		out, _, stop := s.open("/queue/-/events/job/app/", "alice")
		defer stop()
		out.drain()
		for _, tt := range []struct {
			found   bool
			problem error
			want    string
		}{
			{false, nil, "no changes"},
			{true, nil, "changes"},
			{false, errors.New("no <network>"), "failed: poll: no &lt;network&gt;"},
		} {
			found, problem = tt.found, tt.problem
			if _, err := s.ctl.Trigger(s.Context(), s.def, buildtoken.Trigger{
				Caller: definition.Caller{User: "alice", Post: true}, Action: buildtoken.Polling, Job: "app", UserMayTrigger: true, Root: root,
			}); err != nil {
				s.Fatal(err)
			}
			time.Sleep(time.Second)
			s.holds(s.page("/job/app/"), "Polls for changes. Last poll: <time", "<bdi>"+tt.want+`</bdi> (<a href="/ci/job/app/pollingLog">log</a>)`)
			s.holds(out.drain(), "Last poll: ")
		}
		if err := os.WriteFile(filepath.Join(s.dir, "polling", job.PathElement("app")+".log"), []byte("damaged"), 0o600); err != nil {
			s.Fatal(err)
		}
		if w := s.get("/job/app/", "alice"); w.Code != http.StatusInternalServerError {
			s.Errorf("a page whose poll cannot be read = %d, want 500", w.Code)
		}
	})
}

func TestReadersLearnWhyThereIsNoForm(t *testing.T) {
	spec := jobs(at("app", writes("")))
	spec.Access.Read = "true"
	onSite(t, spec, func(s *site) {
		get := func(user string) string { return s.get("/job/app/", user).Body.String() }
		s.holds(get(""), "Nobody is signed in, and callers without an account may not start builds.", "without one, only tokens start builds")
		s.holds(get("rita"), "Your account may look at this job, but not start builds.", "The rule build in the access block")
		s.lacks(get("alice"), "may look", "Sign in")
		s.holds(get(""), "Sign in to start builds, with an account that may.") // the site turned out to have accounts
	})
}

func TestMissingPagesExplainWhatToDo(t *testing.T) {
	spec := jobs(at("app", writes("")))
	spec.Access.Read = "true"
	onSite(t, spec, func(s *site) {
		s.holds(s.get("/job/nothing/", "").Body.String(), "callers without an account may not see")
		s.lacks(s.get("/job/nothing/", "rita").Body.String(), "data-events") // nothing on it changes
		s.holds(s.get("/job/nothing/", "rita").Body.String(), "your account may not see. You are signed in as rita.")
		s.holds(s.get("/job/nothing/", "").Body.String(), "sign in and come back to this page")
	})
}

// scheduled is a job with schedules; no server starts its builds by itself in these tests.
func scheduled(specs ...definition.ScheduleSpec) definition.Job {
	j := at("app", writes(""))
	j.Poller = looks(func() (bool, error) { return false, nil })
	j.Schedules = specs
	return j
}

func TestJobPageShowsItsSchedules(t *testing.T) {
	j := scheduled(
		definition.ScheduleSpec{Spec: "30 4 * * *", Zone: "Europe/Berlin"},
		definition.ScheduleSpec{Spec: "TZ=Asia/Tokyo\n# <often>\n15 9 * * *\n15 23 * * *", Poll: true},
	)
	long := scheduled(definition.ScheduleSpec{Spec: strings.Repeat("0 0 1 1 *\n", 12)}) // 130 characters in one line
	long.Name = "long"
	off := j
	off.Name, off.Disabled = "off", true
	onSite(t, jobs(j, off, long), func(s *site) { // it is midnight, UTC
		page := s.page("/job/app/")
		const poll = `Next scheduled poll: <time datetime="2000-01-01T00:15:00Z" data-in>2000-01-01 00:15:00 UTC</time> <span class="quiet">· <code>15 9 * * *; 15 23 * * *</code>, 09:15 Asia/Tokyo</span>`
		const build = `Next scheduled: <time datetime="2000-01-01T03:30:00Z" data-in>2000-01-01 03:30:00 UTC</time> <span class="quiet">· <code>30 4 * * *</code>, 04:30 Europe/Berlin</span>`
		s.holds(page, poll, build)
		if strings.Index(page, poll) > strings.Index(page, build) {
			t.Error("the schedule that runs first is not the first one")
		}
		if n := strings.Count(page, "Next scheduled"); n != 2 {
			t.Errorf("%d schedules are shown, want 2", n)
		}
		s.lacks(page, "often")
		s.lacks(s.page("/job/off/"), "Next scheduled")
		s.holds(s.page("/job/long/"), "<code>"+strings.Repeat("0 0 1 1 *; ", 10)+"0 0 1 1 *…</code>")
		out, _, stop := s.open("/queue/-/events/job/app/", "alice")
		defer stop()
		out.drain()
		time.Sleep(16 * time.Minute)
		s.holds(out.drain(), "2000-01-01 14:15:00 UTC") // the page knows when it becomes outdated
	})
}

func TestScheduleInTheTimeOfTheServer(t *testing.T) {
	onSite(t, jobs(scheduled(definition.ScheduleSpec{Spec: "15 9 1 1 *"})), func(s *site) {
		at := time.Date(2000, time.January, 1, 9, 15, 0, 0, time.Local)
		if !at.After(time.Now()) {
			at = at.AddDate(1, 0, 0)
		}
		s.holds(s.page("/job/app/"), at.UTC().Format("2006-01-02 15:04:05 UTC"), "<code>15 9 1 1 *</code>, "+at.Format("15:04 MST")+", the time of the server")
	})
}
