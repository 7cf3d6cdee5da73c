package buildtoken_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// files returns the directories of logs and workspaces.
func (s *site) files() []string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "[lw]o*s", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range found {
		found[i], _ = filepath.Rel(s.dir, found[i])
	}
	return found
}

// TestPrune removes what is left of removed jobs, and nothing of jobs that are configured,
// queued or running.
func TestPrune(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := func(names ...string) definition.Spec {
			var spec definition.Spec
			for _, name := range names {
				j := definition.Job{Name: name, Tokens: opens(), Runner: succeeds()}
				if name == "runs" {
					j.Runner = lasts(time.Hour)
				}
				spec.Root.Jobs = append(spec.Root.Jobs, j)
			}
			return spec
		}
		s := openSite(t, buildtoken.Config{})
		detach := s.attach(named("gone", "runs", "stays", "waits"))
		for _, name := range []string{"gone", "runs", "stays", "waits"} {
			s.trigger(name)
		}
		synctest.Wait()
		s.trigger("waits", delayed("2h"))
		foreign := filepath.Join(s.dir, "logs", "lost+found")
		unknown := filepath.Join(s.dir, "workspaces", job.PathElement("of an older time")+"@2")
		if err := errors.Join(os.MkdirAll(foreign, 0o700), os.MkdirAll(unknown, 0o700), os.WriteFile(filepath.Join(unknown, "file"), []byte("content"), 0o600)); err != nil {
			t.Fatal(err)
		}
		s.attach(named("stays"))
		detach()

		all, err := s.Leftovers().All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		type seen struct {
			Job            string
			Builds, Queued int
			Running        int
			Paths          int
		}
		var got []seen
		for _, l := range all {
			got = append(got, seen{l.Job, l.Builds, l.Queued, l.Running, len(l.Paths)})
		}
		want := []seen{{"gone", 1, 0, 0, 2}, {"", 0, 0, 0, 1}, {"runs", 0, 0, 1, 2}, {"waits", 1, 1, 0, 2}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Leftovers (-want +got):\n%s", diff)
		}
		removed, err := s.Leftovers().Prune(t.Context(), time.Time{})
		if err != nil || len(removed) != 2 || removed[0].Job != "gone" || removed[1].Files != 1 || removed[1].Bytes != 7 {
			t.Errorf("Prune = %+v, %v; want the removed job, and the files without a record", removed, err)
		}
		var left []string
		for _, name := range []string{"runs", "stays", "waits"} {
			left = append(left, filepath.Join("logs", job.PathElement(name)))
		}
		left = append([]string{filepath.Join("logs", "lost+found")}, left...)
		for _, name := range []string{"runs", "stays", "waits"} {
			left = append(left, filepath.Join("workspaces", job.PathElement(name)))
		}
		if diff := cmp.Diff(left, s.files()); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if pruned, err := filepath.Glob(filepath.Join(s.dir, "pruned-*")); err != nil || len(pruned) != 0 {
			t.Errorf("left of the removal: %v, %v", pruned, err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()

		// A job that comes back continues its build numbers.
		s.attach(named("gone", "stays"))
		s.trigger("gone")
		synctest.Wait()
		s.wantResult("gone", 2, queue.Success, "")
	})
}

// TestKeepRemoved waits, across a restart, until the records of a removed job have been kept
// for long enough.
func TestKeepRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const keep = 30 * 24 * time.Hour
		s := openSite(t, buildtoken.Config{KeepRemoved: keep},
			definition.Job{Name: "gone", Tokens: opens(), Runner: succeeds()}, definition.Job{Name: "stays", Tokens: opens(), Runner: succeeds()})
		s.trigger("gone")
		s.trigger("stays")
		synctest.Wait()
		without := definition.Spec{Root: definition.Folder{Jobs: []definition.Job{{Name: "stays", Tokens: opens(), Runner: succeeds()}}}}
		s.attach(without)
		time.Sleep(keep)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.open()
		s.attach(without)
		time.Sleep(buildtoken.DefaultOrphanTimeout - time.Second)
		synctest.Wait()
		if got := len(s.files()); got != 4 {
			t.Errorf("%d directories before the time is over, want logs and workspaces of both jobs", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := len(s.files()); got != 2 {
			t.Errorf("%d directories after the time is over, want those of the job that stays", got)
		}
		if _, err := s.Build(t.Context(), "gone", 1); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("Build of the removed job = %v, want %v", err, queue.ErrNotFound)
		}
		s.wantResult("stays", 1, queue.Success, "")
	})
}

// A configuration that ends what is kept of removed jobs applies at once.
func TestKeepRemovedOfAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		app := definition.Job{Name: "app", Tokens: opens(), Runner: succeeds()}
		s := openSite(t, buildtoken.Config{}, app)
		s.trigger("app")
		synctest.Wait()
		s.attach(definition.Spec{})
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if got := len(s.files()); got != 2 {
			t.Errorf("%d directories without a limit, want logs and workspace", got)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s.open()
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		if got := len(s.files()); got != 2 {
			t.Errorf("%d directories while nothing is attached, want logs and workspace", got)
		}
		s.cfg.KeepRemoved = time.Hour
		s.attach(definition.Spec{})
		synctest.Wait()
		if got := len(s.files()); got != 0 {
			t.Errorf("%d directories after a reload with a limit that has passed, want none", got)
		}
	})
}
