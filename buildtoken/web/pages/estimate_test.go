package pages_test

import (
	"context"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// takes is a runner whose builds succeed after these durations, in turn.
func takes(durations ...time.Duration) run {
	n := 0
	return func(ctx context.Context, _ runner.Build, log io.Writer) runner.Result {
		d := durations[min(n, len(durations)-1)]
		n++
		select {
		case <-time.After(d):
			return runner.Result{Outcome: runner.Success}
		case <-ctx.Done():
			return runner.Result{Outcome: runner.Aborted, Reason: context.Cause(ctx).Error()}
		}
	}
}

func TestBuildShowsHowFarItIs(t *testing.T) {
	onSite(t, jobs(at("slow", takes(3*time.Minute, time.Hour)), at("quick", writes("")), at("first", hangs(""))), func(s *site) {
		for _, full := range []string{"slow", "quick", "first"} {
			s.trigger(full, nil)
		}
		s.lacks(s.page("/job/first/1/"), "<progress", "usually")
		time.Sleep(3 * time.Minute)
		s.trigger("slow", nil)
		time.Sleep(89 * time.Second)
		synctest.Wait()
		s.lacks(s.page("/job/slow/1/"), "<progress", "usually") // it has ended
		page := s.page("/job/slow/2/")
		s.holds(page, `, usually 3 min <span class="estimate"><progress value="50" max="100"`, `data-usual="180000"`)
		s.lacks(page, "longer than usual")

		// The progress of the bar is not a change that a stream sends, but taking longer than
		// usual is one.
		_, hash, _ := strings.Cut(page, `data-region="buildhead" data-hash="`)
		hash, _, _ = strings.Cut(hash, `"`)
		time.Sleep(10 * time.Second)
		out, _, stop := s.open("/queue/-/events/job/slow/2/?has=buildhead:"+hash, "alice")
		defer stop()
		time.Sleep(time.Second)
		if text := out.drain(); strings.Contains(text, "buildhead") {
			s.Errorf("the stream begins with what has not changed:\n%s", text)
		}
		time.Sleep(120 * time.Second) // 3:40 of 3:00
		synctest.Wait()
		if text := out.drain(); !strings.Contains(text, "longer than usual") {
			s.Errorf("the stream does not report that the build takes longer than usual:\n%s", text)
		}
		s.holds(s.page("/job/slow/2/"), `<progress value="100"`, "longer than usual")
		s.holds(s.page("/job/slow/2/console"), `<progress value="100"`)
	})
}

func TestStreamsReportBuildsThatTakeLonger(t *testing.T) {
	for _, r := range []runner.Runner{takes(3*time.Minute, time.Hour), remote{takes(3*time.Minute, time.Hour)}} {
		onSite(t, jobs(at("slow", r)), func(s *site) {
			s.trigger("slow", nil)
			time.Sleep(3 * time.Minute)
			s.trigger("slow", nil)
			outs := map[string]*streamed{}
			for _, path := range []string{"", "computer/", "job/slow/2/"} {
				out, _, stop := s.open("/queue/-/events/"+path, "alice")
				defer stop()
				s.lacks(out.drain(), "longer than usual")
				outs[path] = out
			}
			time.Sleep(220 * time.Second)
			synctest.Wait()
			for _, out := range outs {
				s.holds(out.drain(), "longer than usual")
			}
		})
	}
}

func TestBuildShowsItsLogBeforeTheFacts(t *testing.T) {
	onSite(t, jobs(at("hello", writes("hello\n"))), func(s *site) {
		s.trigger("hello", nil)
		page := s.page("/job/hello/1/")
		s.holds(page, "Started <time ", ", ended <time ")
		if strings.Index(page, "data-console-log") > strings.Index(page, `class="facts"`) {
			s.Error("the facts come before the log")
		}
		s.holds(page, `<body class="page-build"`)
		wide := s.page("/job/hello/1/console") // only the log
		s.holds(wide, `<body class="page-console"`, `<a href="/ci/job/hello/1/"`)
		s.lacks(wide, `class="facts"`)
	})
}

// Who started a build and with which values stands above the log, in short.
func TestCauseAndValuesStandAboveTheLog(t *testing.T) {
	spec := jobs(at("hello", writes(""), job.Param{Name: "BRANCH", Kind: job.KindString, Default: "main"},
		job.Param{Name: "STAGE", Kind: job.KindString, Default: "dev"}, job.Param{Name: "KEY", Kind: job.KindPassword}))
	onSite(t, spec, func(s *site) {
		form := url.Values{"BRANCH": {"next"}, "STAGE": {"dev"}, "KEY": {"hunter2"}, "cause": {strings.Repeat("x", 300)}}
		s.post("/job/hello/buildForm", "alice", form)
		s.settle()
		page := s.page("/job/hello/1/")
		above, _, _ := strings.Cut(page, "data-console-log")
		s.holds(above, `<div class="why"><span><bdi>`+strings.Repeat("x", 119)+`…</bdi> <span class="quiet">· Started by user <a href="/ci/job/hello/?by=user%3Aalice#history-title" class="by" title="Builds by alice"><bdi>alice</bdi></a></span></span>`,
			`<span class="quiet">BRANCH</span> <bdi>next</bdi>`)
		s.lacks(above, "STAGE", "KEY", "hunter2", strings.Repeat("x", 120))
		s.holds(page, strings.Repeat("x", 300))
	})
}

func TestReasonOfAFailureComesFirst(t *testing.T) {
	onSite(t, jobs(at("app", fails(runner.Failure, "exit status <7>"))), func(s *site) {
		s.trigger("app", nil)
		page := s.page("/job/app/1/")
		_, head, _ := strings.Cut(page, "<h1>")
		if reason, cause := strings.Index(head, "exit status &lt;7&gt;"), strings.Index(head, "Started"); reason < 0 || reason > cause {
			s.Errorf("the reason is at %d, when and why the build started at %d", reason, cause)
		}
	})
}

func TestValuesAreLinked(t *testing.T) {
	param := func(name string) job.Param {
		return job.Param{Name: name, Kind: job.KindString, Link: "https://git.test/c/{value}?x=1"}
	}
	spec := jobs(at("hello", writes(""), param("COMMIT"), param("EMPTY"), param("LONG")))
	onSite(t, spec, func(s *site) {
		const linked = `href="https://git.test`
		s.trigger("hello", map[string][]string{"LONG": {strings.Repeat("x", 4096)}})
		s.holds(chipsOf(s.page("/job/hello/"), "1"), linked)
		s.trigger("hello", map[string][]string{"COMMIT": {`a/b "&<`}, "LONG": {strings.Repeat("x", 4097)}})
		if n := strings.Count(chipsOf(s.page("/job/hello/"), "2"), linked); n != 1 {
			s.Errorf("%d links in the history, want one", n)
		}
		page := s.page("/job/hello/2/")
		s.holds(page, `<a class="value" href="https://git.test/c/a%2Fb%20%22%26%3C?x=1" rel="noopener noreferrer"><bdi>a/b &#34;&amp;&lt;</bdi></a>`)
		if n := strings.Count(page, `class="value" href="https://git.test`); n != 1 {
			s.Errorf("%d links, want one: an empty value has none, and neither has one that is cut", n)
		}
	})
}
