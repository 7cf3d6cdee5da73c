package buildtoken_test

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/boltqueue"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// shared is a queue that other servers could take over.
type shared struct {
	*boltqueue.DB
	cut chan struct{}
}

func (s shared) CutOff() <-chan struct{}                                       { return s.cut }
func (s shared) Notices() <-chan queue.Notice                                  { return nil }
func (s shared) Announce(context.Context, queue.Node, int) error               { return nil }
func (s shared) Nodes() []queue.Node                                           { return nil }
func (s shared) ReclaimLost(context.Context, time.Time) ([]queue.Build, error) { return nil, nil }

func TestBuildsOfAServerThatIsCutOffAreStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSite(t, buildtoken.Config{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := boltqueue.Open(boltqueue.Options{Path: filepath.Join(s.dir, "queue.db"), Commit: commitFast})
		if err != nil {
			t.Fatal(err)
		}
		q := shared{db, make(chan struct{}, 1)}
		s.Controller, err = buildtoken.Open(context.Background(), buildtoken.Options{Queue: q, Dir: s.dir, SealKey: s.key, Log: s.cfg.Log})
		if err != nil {
			t.Fatal(err)
		}
		app := definition.Job{Name: "app", Tokens: opens(), Runner: lasts(time.Minute)}
		s.attach(definition.Spec{Root: definition.Folder{Jobs: []definition.Job{app}}})
		s.trigger("app")
		synctest.Wait()
		q.cut <- struct{}{}
		synctest.Wait()
		s.wantResult("app", 1, queue.Aborted, "the server was cut off from the queue")
		s.trigger("app")
		time.Sleep(time.Hour)
		s.wantResult("app", 2, queue.Success, "")
	})
}
