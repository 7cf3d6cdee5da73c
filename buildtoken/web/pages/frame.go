package pages

import (
	"context"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// docs is where the documentation is.
const docs = "https://github.com/buildtoken/buildtoken/tree/main/docs"

// module is the module whose version pages show.
const module = "github.com/buildtoken/buildtoken"

// version returns the version of the program's module.
func version() string {
	info, _ := debug.ReadBuildInfo()
	return versionOf(info)
}

// versionOf returns the version of the module in a program, "development" if it was built
// from a working copy. info is nil if nothing is known about the program.
func versionOf(info *debug.BuildInfo) string {
	if info == nil {
		return "development"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return "development"
}

// navView is the navigation, with the numbers of queued items and busy executors. It is a
// region of every page.
type navView struct {
	Base, Here string
	// Counted is set if the counts are known.
	Counted bool
	// Queued counts the items that the caller may see, Busy the executors of this server
	// that build, and Executors all of them.
	Queued, Busy, Executors int
}

// nav is the region with the navigation.
func (v *visit) nav(pg *page) (region, error) {
	view := navView{Base: v.base, Here: pg.Here}
	if v.ctl != nil && pg.Name != "failure" {
		lanes, err := v.kit.queued.get(v.R.Context(), v.ctl)
		if err != nil {
			return region{}, err
		}
		for _, l := range lanes {
			if v.ReadsLane(l) {
				view.Queued += l.Queued
			}
		}
		view.Counted, view.Busy, view.Executors = true, len(v.ctl.Running()), v.ctl.Executors()
	}
	return region{Name: "nav", Data: view}, nil
}

// navPart renders the navigation.
func (v *visit) navPart(pg *page) (*part, error) {
	r, err := v.nav(pg)
	if err != nil {
		return nil, err
	}
	return v.kit.part(r)
}

// queuedLanes are the lanes with queued items of all jobs. They are read once for all open
// pages, until something changes. The zero value is ready to use.
type queuedLanes struct {
	// mu guards the following. It is held while the lanes are read, so that others wait for them.
	mu      sync.Mutex
	lanes   []queue.Lane
	ctl     *buildtoken.Controller
	changed <-chan struct{}
}

// get returns the lanes. The caller must not modify them.
func (q *queuedLanes) get(ctx context.Context, ctl *buildtoken.Controller) ([]queue.Lane, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ctl == ctl {
		select {
		case <-q.changed:
		default:
			return q.lanes, nil
		}
	}
	changed := ctl.Watch()
	lanes, err := ctl.QueuedLanes(ctx)
	if err != nil {
		return nil, err
	}
	q.lanes, q.ctl, q.changed = lanes, ctl, changed
	return lanes, nil
}

// apiOf returns the address of a page's JSON, "" if it has none.
func (v *visit) apiOf(pg *page) string {
	path, _, _ := strings.Cut(pg.path, "?")
	switch pg.Name {
	case "jobs", "job", "build", "console", "queue", "item", "executors":
		return v.base + strings.TrimSuffix(path, "console") + "api/json"
	}
	return ""
}
