package pages_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
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
		s.holds(s.get("/job/nothing/", "rita").Body.String(), "your account may not see. You are signed in as rita.")
		s.holds(s.get("/job/nothing/", "").Body.String(), "sign in and come back to this page")
	})
}
