package buildtoken_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// poll requests a poll, which must be accepted.
func poll(s *site, full string) {
	s.t.Helper()
	out := s.trigger(full, func(t *buildtoken.Trigger) { t.Action = buildtoken.Polling })
	if out.Item.ID != 0 || out.Created {
		s.t.Errorf("a poll answered item %d", out.Item.ID)
	}
}

func TestPollResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changed bool
		var err error
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(), Settings: job.Settings{QuietPeriod: new(3 * time.Second)},
			Params: []job.Param{{Name: "S", Kind: job.KindString, Default: "main"}},
			Poller: looks(func(_ context.Context, b runner.Build, log io.Writer) (bool, error) {
				fmt.Fprintln(log, "looking in", filepath.Base(b.Workspace), "at", b.Params[0].Value)
				time.Sleep(2 * time.Second)
				return changed, err
			}),
		})
		if _, err := s.PollLog("app"); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("PollLog before the first poll = %v, want ErrNotFound", err)
		}
		wantLog := func(last string) {
			t.Helper()
			log, err := s.PollLog("app")
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(log), "\n"), "\n")
			if len(lines) != 4 || !strings.HasPrefix(lines[0], "Started on 2000-01-01T00:") ||
				lines[1] != "looking in "+job.PathElement("app")+" at main" || lines[2] != "Done. Took 2s" || lines[3] != last {
				t.Errorf("poll log = %q, want it to end with %q", lines, last)
			}
		}
		items := func() []queue.Entry {
			t.Helper()
			synctest.Wait()
			all, err := s.Items(t.Context(), s.def, "", 10)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		poll(s, "app")
		time.Sleep(2 * time.Second)
		if got := items(); len(got) != 0 {
			t.Errorf("no changes: queued %+v", got)
		}
		wantLog("No changes")

		err = errors.New("no network")
		poll(s, "app")
		time.Sleep(2 * time.Second)
		if got := items(); len(got) != 0 {
			t.Errorf("failed: queued %+v", got)
		}
		wantLog("Failed: poll: no network")

		changed, err = true, nil
		for range 2 { // the second joins
			poll(s, "app")
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		wantLog("Changes found")
		got := items()
		if len(got) != 1 || len(got[0].Item.Causes) != 1 || got[0].Item.Causes[0].String() != "Started by an SCM change" ||
			got[0].Item.Triggers() != 2 || got[0].Item.Values[0].Text != "main" {
			t.Fatalf("changes: queued %+v, want one item with two SCM changes and the default value", got)
		}
		if want := got[0].Item.Since.Add(3 * time.Second); !got[0].Item.Due.Equal(want) {
			t.Errorf("due %v, want the job's quiet period later: %v", got[0].Item.Due, want)
		}
		time.Sleep(3 * time.Second)
		s.wantResult("app", 1, queue.Success, "")
		if got := s.Stats().Jobs[0]; got.Created != 1 || got.Joined != 1 {
			t.Errorf("Stats = %+v, want one created and one joined", got)
		}
	})
}

func TestOnePollRunsAndOneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		polls, running := map[string]int{}, map[string]bool{}
		turn := make(chan struct{}, 1) // a lock that synctest recognizes
		turn <- struct{}{}
		poller := looks(func(_ context.Context, b runner.Build, _ io.Writer) (bool, error) {
			<-turn
			if running[b.Job] {
				t.Errorf("two polls of %s at the same time", b.Job)
			}
			running[b.Job] = true
			polls[b.Job]++
			turn <- struct{}{}
			time.Sleep(time.Minute)
			<-turn
			running[b.Job] = false
			turn <- struct{}{}
			return false, nil
		})
		s := openSite(t, buildtoken.Config{},
			definition.Job{Name: "app", Tokens: opens(), Runner: succeeds(), Poller: poller},
			definition.Job{Name: "other", Tokens: opens(), Runner: succeeds(), Poller: poller})
		for range 10 {
			poll(s, "app")
			time.Sleep(time.Second)
		}
		poll(s, "other")
		time.Sleep(time.Hour)
		synctest.Wait()
		if polls["app"] != 2 || polls["other"] != 1 {
			t.Errorf("polls = %v, want 2 of app (ten requests came during the first) and 1 of other", polls)
		}
		poll(s, "app")
		time.Sleep(time.Hour)
		synctest.Wait()
		if polls["app"] != 3 {
			t.Errorf("%d polls of app, want 3", polls["app"])
		}
		for _, j := range s.Stats().Jobs {
			if got := j.Polls["none"]; got != uint64(polls[j.Name]) {
				t.Errorf("Stats has %d polls of %s, want %d", got, j.Name, polls[j.Name])
			}
		}
	})
}

// TestChangesOfAJobThatNeverCoalesces polls a job with coalesce never twice. Each poll that
// finds changes must create an item.
func TestChangesOfAJobThatNeverCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(), Coalesce: job.Never, Settings: job.Settings{QuietPeriod: new(time.Hour)},
			Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return true, nil }),
		})
		for range 2 {
			poll(s, "app")
			synctest.Wait()
		}
		if all, err := s.Items(t.Context(), s.def, "", 10); err != nil || len(all) != 2 {
			t.Errorf("two polls that found changes queued %+v, %v; want two items", all, err)
		}
	})
}

// TestTenJobsArePolledAtOnce polls twelve jobs. The last two have to wait.
func TestTenJobsArePolledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := make(chan string, 12)
		poller := looks(func(_ context.Context, b runner.Build, _ io.Writer) (bool, error) {
			running <- b.Job
			time.Sleep(time.Minute)
			return false, nil
		})
		var jobs []definition.Job
		for n := range cap(running) {
			jobs = append(jobs, definition.Job{Name: fmt.Sprint("job", n), Tokens: opens(), Runner: succeeds(), Poller: poller})
		}
		s := openSite(t, buildtoken.Config{}, jobs...)
		for _, j := range jobs {
			poll(s, j.Name)
		}
		synctest.Wait()
		if got := len(running); got != 10 {
			t.Errorf("%d polls run at once, want 10", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(running); got != len(jobs) {
			t.Errorf("%d polls have begun after the first ended, want %d", got, len(jobs))
		}
		time.Sleep(time.Minute)
	})
}

// A poll inspects the workspace that the last build left, so both use the job's own workspace,
// one after the other.
func TestPollAndBuildDoNotMeet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inside := 0
		enter := func(workspace string) {
			if inside++; inside > 1 {
				t.Error("a poll and a build use the workspace at the same time")
			}
			if filepath.Base(workspace) != job.PathElement("app") {
				t.Errorf("workspace is %s, want the job's own", filepath.Base(workspace))
			}
			time.Sleep(10 * time.Second)
			inside--
		}
		polls := 0
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(), Concurrent: true,
			Runner: runs(func(_ context.Context, b runner.Build, _ io.Writer) runner.Result {
				enter(b.Workspace)
				return runner.Result{Outcome: runner.Success}
			}),
			Poller: looks(func(_ context.Context, b runner.Build, _ io.Writer) (bool, error) {
				polls++
				enter(b.Workspace)
				return false, nil
			}),
		})
		poll(s, "app")
		synctest.Wait()
		s.trigger("app") // waits for the poll
		time.Sleep(15 * time.Second)
		poll(s, "app") // waits for the build
		time.Sleep(15 * time.Second)
		synctest.Wait()
		s.wantResult("app", 1, queue.Success, "")
		if got := s.log("app", 1)[1]; got != "Waiting for a poll of the job to leave the workspace" {
			t.Errorf("second line of the log = %q", got)
		}
		if polls != 2 {
			t.Errorf("%d polls, want 2", polls)
		}
	})
}

func TestPollsThatAreRefusedOrDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looked := 0
		release := make(chan struct{})
		app := definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(), Params: stringParams("S"),
			Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) {
				looked++
				<-release
				return false, nil
			}),
		}
		disabled, plain := app, app
		disabled.Name, disabled.Disabled = "disabled", true
		plain.Name, plain.Poller = "plain", nil
		s := openSite(t, buildtoken.Config{}, app, disabled, plain)
		polling := func(t *buildtoken.Trigger) { t.Action = buildtoken.Polling }
		s.refused(definition.ErrNotBuildable, ask("disabled", polling))
		s.refused(definition.ErrNotPollable, ask("plain", polling))
		if !s.def.Pollable("app") || s.def.Pollable("plain") || s.def.Pollable("nowhere") {
			t.Error("Pollable is wrong")
		}
		poll(s, "app")
		synctest.Wait()
		poll(s, "app")
		app.Disabled = true
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		close(release)
		synctest.Wait()
		if looked != 1 {
			t.Errorf("%d polls, want 1: the job was disabled before the second", looked)
		}
	})
}

// Changes for which no build can be queued are an error in the log.
func TestChangesThatCannotBeQueued(t *testing.T) {
	for _, tt := range []struct {
		name      string
		meanwhile func(s *site, app definition.Job)
		want      error
	}{
		{"the job is disabled meanwhile", func(s *site, app definition.Job) {
			app.Disabled = true
			s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		}, definition.ErrUnknownJob},
		{"the job is not polled any more", func(s *site, app definition.Job) {
			app.Poller = nil
			s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		}, definition.ErrUnknownJob},
		{"the job is removed meanwhile", func(s *site, _ definition.Job) { s.attach(definition.Spec{}) }, definition.ErrUnknownJob},
		{"the queue is full", func(s *site, _ definition.Job) { s.trigger("app", delayed("1h"), values("S", "other")) }, queue.ErrFull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				found := make(chan bool)
				app := definition.Job{
					Name: "app", Tokens: opens(), Runner: succeeds(), Params: stringParams("S"),
					Poller: looks(func(context.Context, runner.Build, io.Writer) (bool, error) { return <-found, nil }),
				}
				s := openSite(t, buildtoken.Config{QueueLimit: 1}, app)
				poll(s, "app")
				synctest.Wait()
				tt.meanwhile(s, app)
				queued := func() (n uint64) {
					for _, j := range s.Stats().Jobs {
						n += j.Created + j.Joined
					}
					return n
				}
				before := queued()
				found <- true
				synctest.Wait()
				lines := s.logs.FilterMessage("changes were found, but no build could be queued").All()
				if len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0].ContextMap()["error"]), tt.want.Error()) {
					t.Errorf("log lines %v, want one with %v", lines, tt.want)
				}
				if after := queued(); after != before {
					t.Errorf("%d triggers were queued, before the poll %d; want no more", after, before)
				}
			})
		})
	}
}

func TestPollEndsWithItsTimeoutAndWithTheServer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		timeout *time.Duration
		close   bool
		took    time.Duration
		log     string
	}{
		{"the job's timeout", new(5 * time.Second), false, 5 * time.Second, "Failed: poll: timed out after 5s\n"},
		{"a long one of the job", new(20 * time.Minute), false, 20 * time.Minute, "Failed: poll: timed out after 20m0s\n"},
		{"a timeout of its own", nil, false, 10 * time.Minute, "Failed: poll: timed out after 10m0s\n"},
		{"that one although builds have none", new(time.Duration(0)), false, 10 * time.Minute, "Failed: poll: timed out after 10m0s\n"},
		{"the server stops", nil, true, 0, "Failed: poll: buildtoken: shutting down\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var took time.Duration
				s := openSite(t, buildtoken.Config{}, definition.Job{
					Name: "app", Tokens: opens(), Runner: succeeds(), Settings: job.Settings{Timeout: tt.timeout},
					Poller: looks(func(ctx context.Context, _ runner.Build, _ io.Writer) (bool, error) {
						start := time.Now()
						<-ctx.Done()
						took = time.Since(start)
						return false, context.Cause(ctx)
					}),
				})
				poll(s, "app")
				synctest.Wait()
				poll(s, "app") // one more waits
				if tt.close {
					if err := s.Close(); err != nil {
						t.Fatal(err)
					}
				} else {
					time.Sleep(21 * time.Minute)
					synctest.Wait()
				}
				if took != tt.took {
					t.Errorf("the poll took %v, want %v", took, tt.took)
				}
				if log, err := s.PollLog("app"); err != nil || !strings.HasSuffix(string(log), tt.log) {
					t.Errorf("poll log = %q, %v; want %q at its end", log, err, tt.log)
				}
			})
		})
	}
}

func TestPollLogIsBoundedAndKeepsItsLastLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{}, definition.Job{
			Name: "app", Tokens: opens(), Runner: succeeds(),
			Poller: looks(func(_ context.Context, _ runner.Build, log io.Writer) (bool, error) {
				for range 100 {
					if n, err := log.Write(make([]byte, 64<<10)); n != 64<<10 || err != nil {
						t.Errorf("Write = %d, %v", n, err)
					}
				}
				return false, nil
			}),
		})
		poll(s, "app")
		synctest.Wait()
		log, err := s.PollLog("app")
		if err != nil || len(log) > 1<<20+200 || !strings.HasSuffix(string(log), "\x00\nDone. Took 0s\nNo changes\n") {
			t.Errorf("poll log has %d bytes and ends %q, %v", len(log), log[max(0, len(log)-50):], err)
		}
	})
}
