package gojenkins_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bndr/gojenkins"
)

// places are the places of the same jobs, which must behave the same everywhere.
var places = []struct {
	name, root string
	folders    []string
}{
	{"at the top", "", nil},
	{"in folders", "", []string{"app", "web"}},
	{"in folders of a server below a path", "/ci", []string{"app", "web"}},
}

func TestJobsAreListed(t *testing.T) {
	s, ctx := start(t), bounded(t)
	for _, root := range []string{"", "/ci"} {
		j := s.client(ctx, t, root, "bob")
		if j.Version == "" {
			t.Error("Init: got no version")
		}
		jobs, err := j.GetAllJobs(ctx)
		if err != nil {
			t.Fatalf("GetAllJobs: %v", err)
		}
		var names []string
		for _, job := range jobs {
			names = append(names, job.GetName())
		}
		if want := []string{"app", "hooked", "fail", "gate", "greet", "hello", "later", "sleep"}; !slices.Equal(names, want) {
			t.Errorf("GetAllJobs: got %q, want %q", names, want)
		}

		// Folders hold the same jobs as the root, without its folders.
		folders := []string{"app", "hooked"}
		folder, err := j.GetFolder(ctx, "web", "app")
		if err != nil {
			t.Fatalf("GetFolder: %v", err)
		}
		if got, want := len(folder.Raw.Jobs), len(jobs)-len(folders); folder.GetName() != "web" || got != want {
			t.Errorf("GetFolder: got %q with %d jobs, want web with %d", folder.GetName(), got, want)
		}
		outer, err := j.GetJob(ctx, "app")
		if err != nil {
			t.Fatalf("GetJob(app): %v", err)
		}
		inner, err := outer.GetInnerJobs(ctx)
		if err != nil || len(inner) != 1 || inner[0].GetName() != "web" {
			t.Errorf("GetInnerJobs: got %d jobs, %v, want web alone", len(inner), err)
		}
	}
}

func TestJobIsDescribed(t *testing.T) {
	s, ctx := start(t), bounded(t)
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			j := s.client(ctx, t, at.root, "bob")
			hello := getJob(ctx, t, j, "hello", at.folders)
			if got, want := hello.GetDescription(), "says hello"; got != want {
				t.Errorf("GetDescription: got %q, want %q", got, want)
			}
			if got, want := hello.GetDetails().FullName, strings.Join(append(slices.Clone(at.folders), "hello"), "/"); got != want {
				t.Errorf("full name: got %q, want %q", got, want)
			}
			if on, err := hello.IsEnabled(ctx); !on || err != nil {
				t.Errorf("IsEnabled: got %v, %v", on, err)
			}

			parameters, err := getJob(ctx, t, j, "greet", at.folders).GetParameters(ctx)
			if err != nil {
				t.Fatalf("GetParameters: %v", err)
			}
			var got []string
			for _, p := range parameters {
				got = append(got, p.Type+" "+p.Name)
			}
			want := []string{"StringParameterDefinition NAME", "BooleanParameterDefinition LOUD", "ChoiceParameterDefinition TONE", "PasswordParameterDefinition PASSPHRASE"}
			if !slices.Equal(got, want) {
				t.Errorf("GetParameters: got %q, want %q", got, want)
			}
			if p := parameters[0]; p.DefaultParameterValue.Value != "world" || p.Description != "who is greeted" {
				t.Errorf("NAME: got default %v, description %q", p.DefaultParameterValue.Value, p.Description)
			}
		})
	}
	if _, err := s.client(ctx, t, "", "bob").GetJob(ctx, "nothing"); err == nil {
		t.Error("GetJob(nothing): got no error")
	}
}

func TestBuildRunsToItsEnd(t *testing.T) {
	s, ctx := start(t), bounded(t)
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			j := s.client(ctx, t, at.root, "alice")
			for _, tt := range []struct {
				job, result, console string
				params               map[string]string
			}{
				{"hello", gojenkins.STATUS_SUCCESS, "Started by user alice\nhello\nFinished: SUCCESS\n", nil},
				{"fail", "FAILURE", "Started by user alice\nnothing works\nexit status 3\nFinished: FAILURE\n", nil},
				{
					"greet", gojenkins.STATUS_SUCCESS, "Started by user alice\nhello, Ann & Bob = 2: false cold 3\nFinished: SUCCESS\n",
					map[string]string{"NAME": "Ann & Bob = 2", "LOUD": "false", "TONE": "cold", "PASSPHRASE": "abc"},
				},
				{"greet", gojenkins.STATUS_SUCCESS, "Started by user alice\nhello, world: true kind 0\nFinished: SUCCESS\n", nil},
			} {
				job := getJob(ctx, t, j, tt.job, at.folders)
				build := trigger(ctx, t, j, job, tt.params)
				eventually(t, "the build ends", func() bool { return !build.IsRunning(ctx) })
				if got := build.GetResult(); got != tt.result {
					t.Errorf("%s: GetResult: got %q, want %q", tt.job, got, tt.result)
				}
				if got, want := build.IsGood(ctx), tt.result == gojenkins.STATUS_SUCCESS; got != want {
					t.Errorf("%s: IsGood: got %v, want %v", tt.job, got, want)
				}
				if got := build.GetConsoleOutput(ctx); got != tt.console {
					t.Errorf("%s: GetConsoleOutput: got\n%swant\n%s", tt.job, got, tt.console)
				}
				if causes, err := build.GetCauses(ctx); err != nil || len(causes) != 1 || causes[0]["userId"] != "alice" {
					t.Errorf("%s: GetCauses: got %v, %v, want alice", tt.job, causes, err)
				}
				for _, p := range build.GetParameters() {
					want, given := tt.params[p.Name]
					if p.Name == "PASSPHRASE" {
						want, given = "<nil>", true // passwords are never shown
					}
					if got := fmt.Sprint(p.Value); given && got != want {
						t.Errorf("%s: parameter %s: got %q, want %q", tt.job, p.Name, got, want)
					}
				}
			}
		})
	}
}

// TestBuildsAreFound in all the ways that the client offers.
func TestBuildsAreFound(t *testing.T) {
	s, ctx := start(t), bounded(t)
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			j := s.client(ctx, t, at.root, "alice")
			job := getJob(ctx, t, j, "hello", at.folders)
			before := int64(0)
			if builds, err := job.GetAllBuildIds(ctx); err != nil {
				t.Fatalf("GetAllBuildIds: %v", err)
			} else if len(builds) > 0 {
				before = builds[0].Number
			}
			for range 2 {
				build := trigger(ctx, t, j, job, nil)
				eventually(t, "the build ends", func() bool { return !build.IsRunning(ctx) })
			}
			last := before + 2
			if _, err := job.Poll(ctx); err != nil {
				t.Fatal(err)
			}
			for name, get := range map[string]func(context.Context) (*gojenkins.Build, error){
				"GetLastBuild": job.GetLastBuild, "GetLastCompletedBuild": job.GetLastCompletedBuild,
				"GetLastSuccessfulBuild": job.GetLastSuccessfulBuild, "GetLastStableBuild": job.GetLastStableBuild,
			} {
				if build, err := get(ctx); err != nil || build.GetBuildNumber() != last {
					t.Errorf("%s: got %+v, %v, want number %d", name, build, err, last)
				}
			}
			if build, err := job.GetFirstBuild(ctx); err != nil || build.GetBuildNumber() != 1 {
				t.Errorf("GetFirstBuild: got %+v, %v, want number 1", build, err)
			}
			if build, err := job.GetBuild(ctx, last); err != nil {
				t.Errorf("GetBuild: %v", err)
			} else if want := fmt.Sprintf("%s%d/", job.GetDetails().URL, last); build.GetUrl() != want || !strings.HasPrefix(want, s.url+at.root+"/job/") {
				t.Errorf("GetBuild: got URL %q, want %q", build.GetUrl(), want)
			}
			if _, err := job.GetBuild(ctx, last+1); err == nil {
				t.Error("GetBuild of one that is not: got no error")
			}
			if builds, err := job.GetAllBuildIds(ctx); err != nil || len(builds) != int(last) || builds[0].Number != last {
				t.Errorf("GetAllBuildIds: got %v, %v, want %d, the newest first", builds, err, last)
			}
			if running, err := job.IsRunning(ctx); running || err != nil {
				t.Errorf("IsRunning: got %v, %v, want false", running, err)
			}
		})
	}
}

func TestConsoleIsFollowed(t *testing.T) {
	s, ctx := start(t), bounded(t)
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			gate := filepath.Join(t.TempDir(), "gate")
			j := s.client(ctx, t, at.root, "alice")
			build := trigger(ctx, t, j, getJob(ctx, t, j, "gate", at.folders), map[string]string{"GATE": gate})
			var text string
			var offset int64
			more := true
			follow := func() {
				part, err := build.GetConsoleOutputFromIndex(ctx, offset)
				if err != nil {
					t.Fatalf("GetConsoleOutputFromIndex(%d): %v", offset, err)
				}
				text, offset, more = text+part.Content, part.Offset, part.HasMoreText
			}
			eventually(t, "the first line is there", func() bool { follow(); return strings.Contains(text, "before\r\n") })
			if !more || !build.IsRunning(ctx) {
				t.Errorf("while the build runs: got more %v, want true", more)
			}
			if err := os.WriteFile(gate, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, "no more comes", func() bool { follow(); return !more })
			if want := "Started by user alice\r\nbefore\r\nafter\r\nFinished: SUCCESS\r\n"; text != want {
				t.Errorf("got %q, want %q", text, want)
			}
			if build.IsRunning(ctx) {
				t.Error("the log is complete and the build still runs")
			}
		})
	}
}

func TestBuildIsStopped(t *testing.T) {
	s, ctx := start(t), bounded(t)
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			j := s.client(ctx, t, at.root, "alice")
			build := trigger(ctx, t, j, getJob(ctx, t, j, "sleep", at.folders), nil)
			if !build.IsRunning(ctx) {
				t.Fatal("the build does not run")
			}
			if ok, err := build.Stop(ctx); !ok || err != nil {
				t.Errorf("Stop: got %v, %v, want true", ok, err)
			}
			eventually(t, "the build ends", func() bool { return !build.IsRunning(ctx) })
			if got := build.GetResult(); got != gojenkins.STATUS_ABORTED {
				t.Errorf("GetResult: got %q, want %q", got, gojenkins.STATUS_ABORTED)
			}
			if got := build.GetConsoleOutput(ctx); !strings.HasSuffix(got, "\nFinished: ABORTED\n") {
				t.Errorf("GetConsoleOutput: got %q", got)
			}
			if ok, err := build.Stop(ctx); !ok || err != nil {
				t.Errorf("Stop again: got %v, %v, want true", ok, err)
			}
		})
	}
}

func TestQueuedItemIsCancelled(t *testing.T) {
	s, ctx := start(t), bounded(t)
	for _, at := range places {
		t.Run(at.name, func(t *testing.T) {
			j := s.client(ctx, t, at.root, "alice")
			job := getJob(ctx, t, j, "later", at.folders)
			id := invoke(ctx, t, job, nil)
			queued, err := j.GetQueue(ctx)
			if err != nil {
				t.Fatalf("GetQueue: %v", err)
			}
			task := queued.GetTaskById(id)
			if task == nil || len(queued.Tasks()) != 1 || len(queued.GetTasksForJob("later")) != 1 {
				t.Fatalf("GetQueue: got %d items, want item %d alone", len(queued.Tasks()), id)
			}
			if !strings.HasPrefix(task.GetWhy(), "In the quiet period.") || len(task.GetCauses()) != 1 {
				t.Errorf("the item: got why %q, causes %v", task.GetWhy(), task.GetCauses())
			}
			if is, err := job.IsQueued(ctx); !is || err != nil {
				t.Errorf("IsQueued: got %v, %v, want true", is, err)
			}
			if is, err := job.HasQueuedBuild(ctx); !is || err != nil {
				t.Errorf("HasQueuedBuild: got %v, %v, want true", is, err)
			}
			// The client first checks whether the job is queued, and then sends nothing.
			if again, err := job.InvokeSimple(ctx, nil); again != 0 || err != nil {
				t.Errorf("InvokeSimple while queued: got %d, %v, want 0", again, err)
			}

			// The client only accepts 200 as success; Jenkins answers 204, as we do.
			if ok, err := queued.CancelTask(ctx, id); ok || err != nil {
				t.Errorf("CancelTask: got %v, %v, want false and no error; docs/jenkins.md says so", ok, err)
			}
			if left, err := j.GetQueue(ctx); err != nil || len(left.Tasks()) != 0 {
				t.Errorf("GetQueue: got %+v, %v, want an empty queue", left, err)
			}
			item, err := j.GetQueueItem(ctx, id)
			if err != nil || item.Raw.ID != id || item.Raw.Executable.Number != 0 {
				t.Errorf("GetQueueItem: got %+v, %v, want item %d without a build", item, err, id)
			}
			if is, err := job.IsQueued(ctx); is || err != nil {
				t.Errorf("IsQueued: got %v, %v, want false", is, err)
			}
		})
	}
}

// TestTokenStandsForTheRight to build, which Bob has not. The client sends the
// parameters of Invoke as JSON in a form, in which Jenkins does not find them.
func TestTokenStandsForTheRight(t *testing.T) {
	s, ctx := start(t), bounded(t)
	alice, bob := s.client(ctx, t, "", "alice"), s.client(ctx, t, "", "bob")
	// Invoke first reads the last build, and fails if there is none.
	first := trigger(ctx, t, alice, getJob(ctx, t, alice, "greet", nil), nil)
	eventually(t, "the build ends", func() bool { return !first.IsRunning(ctx) })

	job := getJob(ctx, t, bob, "greet", nil)
	if _, err := job.InvokeSimple(ctx, nil); err == nil {
		t.Error("InvokeSimple without the right: got no error")
	}
	if ok, err := job.Invoke(ctx, nil, false, map[string]string{"NAME": "Ann"}, "", "wrong"); ok || err == nil {
		t.Errorf("Invoke with a wrong token: got %v, %v, want an error", ok, err)
	}
	if ok, err := job.Invoke(ctx, nil, true, map[string]string{"NAME": "Ann"}, "", "greet-token"); !ok || err != nil {
		t.Fatalf("Invoke: got %v, %v, want true", ok, err)
	}
	eventually(t, "the second build has ended", func() bool {
		build, err := job.GetBuild(ctx, 2)
		return err == nil && build.GetResult() == gojenkins.STATUS_SUCCESS
	})
	build, err := job.GetBuild(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := "Started by remote host 127.0.0.1\nhello, Ann: true kind 0\nFinished: SUCCESS\n"
	if got := build.GetConsoleOutput(ctx); got != want {
		t.Errorf("GetConsoleOutput: got %q, want %q", got, want)
	}
	if ok, err := build.Stop(ctx); !ok || err != nil { // it has ended, so nothing is sent
		t.Errorf("Stop: got %v, %v, want true", ok, err)
	}
}

func TestWrongPasswordIsAnError(t *testing.T) {
	s, ctx := start(t), bounded(t)
	if _, err := gojenkins.CreateJenkins(nil, s.url, "alice", "guess").Init(ctx); err == nil {
		t.Error("Init: got no error")
	}
}

func getJob(ctx context.Context, t *testing.T, j *gojenkins.Jenkins, name string, folders []string) *gojenkins.Job {
	t.Helper()
	job, err := j.GetJob(ctx, name, slices.Clone(folders)...)
	if err != nil {
		t.Fatalf("GetJob(%s): %v", name, err)
	}
	if job.GetName() != name {
		t.Fatalf("GetJob(%s): got %q", name, job.GetName())
	}
	return job
}

// invoke triggers a build and returns the queue item.
func invoke(ctx context.Context, t *testing.T, job *gojenkins.Job, params map[string]string) int64 {
	t.Helper()
	id, err := job.InvokeSimple(ctx, params)
	if err != nil || id == 0 {
		t.Fatalf("InvokeSimple(%s): got %d, %v, want the item", job.GetName(), id, err)
	}
	return id
}

// trigger triggers a build and returns it when it has started.
func trigger(ctx context.Context, t *testing.T, j *gojenkins.Jenkins, job *gojenkins.Job, params map[string]string) *gojenkins.Build {
	t.Helper()
	build, err := j.GetBuildFromQueueID(ctx, job, invoke(ctx, t, job, params))
	if err != nil {
		t.Fatalf("GetBuildFromQueueID: %v", err)
	}
	return build
}
