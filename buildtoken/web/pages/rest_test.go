package pages_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// lasts is a runner whose builds take different durations.
func lasts(takes ...time.Duration) run {
	n := 0
	return func(ctx context.Context, _ runner.Build, _ io.Writer) runner.Result {
		n++
		select {
		case <-time.After(takes[n-1]):
		case <-ctx.Done():
		}
		return runner.Result{Outcome: runner.Success}
	}
}

func TestRunningBuildsShowTheEstimatedRest(t *testing.T) {
	onSite(t, jobs(at("app", lasts(time.Minute, 3*time.Minute, time.Hour))), func(s *site) {
		s.trigger("app", nil)
		s.lacks(s.page("/")+s.page("/computer/"), "<progress") // nothing to estimate from
		time.Sleep(5 * time.Minute)
		s.trigger("app", nil)
		time.Sleep(5 * time.Minute)
		s.trigger("app", nil)
		time.Sleep(59 * time.Second)
		for _, path := range []string{"/", "/computer/"} {
			s.holds(s.page(path), `usually 2 min <span class="estimate"><progress value="50" max="100"`)
		}
		s.lacks(s.page("/"), "longer than usual")
		time.Sleep(83 * time.Second)
		s.lacks(s.page("/"), "longer than usual")
		time.Sleep(time.Second)
		for _, path := range []string{"/", "/computer/"} {
			s.holds(s.page(path), `usually 2 min, longer than usual`, `<progress value="100"`)
		}
	})
}

func TestQueuedItemsShowWhenTheBuildBeforeThemEnds(t *testing.T) {
	onSite(t, jobs(at("app", lasts(time.Minute, time.Hour, time.Second))), func(s *site) {
		s.trigger("app", nil)
		s.lacks(s.page("/queue/"), "data-left")
		time.Sleep(2 * time.Minute)
		s.trigger("app", nil)
		id := s.trigger("app", nil)
		for _, path := range []string{"/queue/", "/job/app/", fmt.Sprintf("/queue/item/%d/", id)} {
			s.holds(s.page(path), `<a href="/ci/job/app/2/">Build #2 is already in progress</a>, <time`, " data-left>until about ")
		}
		s.holds(s.page(fmt.Sprintf("/queue/item/%d/", id)), "usually take 1 min")
		time.Sleep(time.Minute)
		for _, path := range []string{"/queue/", "/job/app/", fmt.Sprintf("/queue/item/%d/", id)} {
			s.lacks(s.page(path), "until about")
		}
	})
}

// A second is worth an estimate.
func TestBriefestEstimate(t *testing.T) {
	onSite(t, jobs(at("app", lasts(time.Second, time.Hour))), func(s *site) {
		s.trigger("app", nil)
		time.Sleep(time.Minute)
		s.trigger("app", nil)
		s.holds(s.page("/job/app/1/"), "took 1.0 s")
		s.holds(s.page("/job/app/2/"), `usually 1.0 s <span class="estimate"><progress value="100"`)
	})
}

// Open pages are notified when a build becomes a long one, although nothing else changes, and
// receive nothing before.
func TestStreamReportsThatABuildTakesLong(t *testing.T) {
	onSite(t, jobs(at("app", lasts(time.Minute, time.Hour))), func(s *site) {
		s.trigger("app", nil)
		time.Sleep(2 * time.Minute)
		s.trigger("app", nil)
		out, _, stop := s.open("/queue/-/events/", "alice")
		defer stop()
		s.holds(out.drain(), "usually 1 min")
		time.Sleep(70 * time.Second)
		s.lacks(out.drain(), "event: page")
		time.Sleep(2 * time.Second)
		s.holds(out.drain(), "longer than usual")
	})
}

// A build that takes long is told from its short ones before it.
func TestLongBuildOfAShortJob(t *testing.T) {
	onSite(t, jobs(at("app", lasts(100*time.Millisecond, time.Hour))), func(s *site) {
		s.trigger("app", nil)
		time.Sleep(time.Minute)
		s.trigger("app", nil)
		paths := []string{"/", "/computer/", "/job/app/2/"}
		for _, path := range paths {
			s.lacks(s.page(path), "<progress", "usually") // it would come and go
		}
		out, _, stop := s.open("/queue/-/events/job/app/2/", "alice")
		defer stop()
		out.drain()
		time.Sleep(1200 * time.Millisecond)
		s.holds(out.drain(), "usually 100 ms, longer than usual")
		for _, path := range paths {
			s.holds(s.page(path), "usually 100 ms, longer than usual", `<progress value="100"`)
		}
	})
}

func TestProgressShowsNothingOfJobsThatMayNotBeSeen(t *testing.T) {
	spec := jobs(at("app", lasts(time.Minute, time.Hour)))
	spec.Access.Read = `user == "alice" || job.full_name == "other"`
	spec.Root.Jobs = append(spec.Root.Jobs, at("other", writes("x\n")))
	onSite(t, spec, func(s *site) {
		s.trigger("app", nil)
		time.Sleep(2 * time.Minute)
		s.trigger("app", nil)
		s.holds(s.page("/computer/"), "<progress")
		body := s.get("/computer/", "rita").Body.String()
		s.holds(body, "a build that you may not see")
		s.lacks(body, "<progress", "usually")
	})
}
