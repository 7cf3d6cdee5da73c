package pages_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// counted counts the queries of a page.
type counted struct {
	buildtoken.Queue
	overviews, builds atomic.Int64
}

func (c *counted) Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error) {
	c.overviews.Add(1)
	return c.Queue.Overviews(ctx, jobs)
}

func (c *counted) Build(ctx context.Context, job string, number int64) (queue.Build, error) {
	c.builds.Add(1)
	return c.Queue.Build(ctx, job, number)
}

func (c *counted) Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error) {
	c.builds.Add(1)
	return c.Queue.Builds(ctx, job, before, limit)
}

// However many jobs there are, the page of the jobs runs one query.
func TestJobsPageAsksOnce(t *testing.T) {
	var all []definition.Job
	for n := range 50 {
		all = append(all, at(fmt.Sprintf("job%d", n), writes("x\n")))
	}
	c := &counted{}
	onQueue(t, jobs(all...), func(q buildtoken.Queue) buildtoken.Queue { c.Queue = q; return c }, func(s *site) {
		s.trigger("job7", nil)
		s.trigger("job8", nil)
		c.overviews.Store(0)
		c.builds.Store(0)
		s.holds(s.page("/"), "job49", `/job/job7/1/`, `/job/job8/1/`)
		if o, b := c.overviews.Load(), c.builds.Load(); o != 1 || b != 0 {
			t.Errorf("%d queries for overviews and %d for builds of one job, want 1 and 0", o, b)
		}
	})
}

// What no server can run is stuck, wherever it is shown, as soon as it is due.
func TestStuckItemsAreShownAsStuck(t *testing.T) {
	gpu := at("gpu", writes("x\n"))
	label := "gpu"
	gpu.Settings.Label = &label
	onSite(t, jobs(gpu, at("hello", writes("x\n")), at("busy", hangs("x\n"))), func(s *site) {
		id := s.trigger("gpu", nil)
		time.Sleep(time.Minute)
		const stuck, why = `<span class="state state-stuck">`, "There are no nodes with the label ‘gpu’"
		for _, path := range []string{"/", "/queue/", "/job/gpu/", fmt.Sprintf("/queue/item/%d/", id)} {
			body := s.page(path)
			s.holds(body, stuck)
			s.lacks(body, ">Ready<")
			if path != "/" {
				s.holds(body, why)
			}
		}
		s.holds(s.page("/job/gpu/"), "What is queued cannot run until one is added")
		s.trigger("hello", nil)
		for range 3 { // one is queued that can run
			s.trigger("busy", nil)
		}
		s.lacks(s.page("/job/hello/")+s.page("/job/busy/"), stuck)
		if n := strings.Count(s.page("/"), stuck); n != 1 {
			t.Errorf("%d jobs are stuck on the list, want 1", n)
		}
	})
}
