package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/deliveries"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin shows at `GET /build_token/` of Caddy's admin API how the queue is
// doing, as JSON, and at `GET /build_token/deliveries` what became of the last
// webhook deliveries. Nothing in it is secret.
type Admin struct{}

// adminPath is below which the admin API answers.
const adminPath = "/build_token/"

// Status is what the admin API shows.
type Status struct {
	// Queues are the queues of the configuration in force.
	Queues []QueueStatus `json:"queues"`
}

// QueueStatus is what is known of one queue.
type QueueStatus struct {
	// Path is where the queue is.
	Path string `json:"path"`
	// Node is the name of the server that answers.
	Node string `json:"node"`
	// Queued is the number of queued items, those of Gone included.
	Queued int `json:"queued"`
	// Executors is how many builds may run at once on this server.
	Executors int `json:"executors"`
	// RemoteBuilds is how many builds that only follow another system may run at once on
	// this server, which take no executor; left out if no job has such builds.
	RemoteBuilds int `json:"remote_builds,omitempty"`
	// Running are the builds that run, by job and number; also those of other
	// servers, if several share the queue.
	Running []RunningBuild `json:"running"`
	// Jobs are those of the configuration, sorted by name.
	Jobs []JobStatus `json:"jobs"`
	// Gone are jobs with queued items that no server has any more, sorted by name.
	Gone []GoneJob `json:"gone,omitempty"`
}

// GoneJob is a job with queued items that no server has any more.
type GoneJob struct {
	Name   string `json:"name"`
	Queued int    `json:"queued"`
	// NextItem is the first of its items, left out as in [JobStatus].
	NextItem int64 `json:"next_item,omitempty"`
	// Until is when its items stop waiting for the job to come back and end NOT_BUILT.
	Until time.Time `json:"until"`
}

// RunningBuild is a build that runs.
type RunningBuild struct {
	Job    string `json:"job"`
	Number int64  `json:"number"`
	Item   int64  `json:"item"`
	// Node is the server that runs it.
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
	// Remote means that it only follows another system, and takes no executor.
	Remote bool `json:"remote,omitempty"`
}

// JobStatus is what is known of one job.
type JobStatus struct {
	Name       string `json:"name"`
	Disabled   bool   `json:"disabled,omitempty"`
	Queued     int    `json:"queued"`
	Running    int    `json:"running"`
	LastNumber int64  `json:"last_number"` // of the newest build, which may still be running
	// LastCompleted is the number of the newest build that has ended, and LastResult its result.
	LastCompleted int64  `json:"last_completed,omitempty"`
	LastResult    string `json:"last_result,omitempty"`
	// LastStarted and LastEnded are its times. They are left out if there are more
	// than 200 jobs.
	LastStarted time.Time `json:"last_started,omitzero"`
	LastEnded   time.Time `json:"last_ended,omitzero"`
	// NextItem is the first queued item, and Why is why it waits. They are left out for
	// jobs whose items are not among the first 1000.
	NextItem int64  `json:"next_item,omitempty"`
	Why      string `json:"why,omitempty"`
}

// maxTimed is up to how many jobs the times of last builds are looked up.
const maxTimed = 200

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.build_token",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Routes implements [caddy.AdminRouter].
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// serve finds the app with each request: after a load that failed, the app that
// this router was made with is not the one that runs.
func (*Admin) serve(w http.ResponseWriter, r *http.Request) error {
	if r.URL.Path == readyPath {
		app, err := activeApp()
		if err != nil {
			return apiError(http.StatusServiceUnavailable, err)
		}
		app.serveReady(w, r)
		return nil
	}
	if r.URL.Path == adminPath {
		return answerJSON(w, r, func() (Status, error) { return statusOf(r.Context()) })
	}
	return serveBelow(w, r)
}

// statusOf returns the status of the queue, if one is configured.
func statusOf(ctx context.Context) (Status, error) {
	status := Status{Queues: []QueueStatus{}}
	app, err := activeApp()
	if errors.Is(err, caddy.ErrNotConfigured) {
		return status, nil
	}
	if err != nil {
		return status, apiError(http.StatusInternalServerError, err)
	}
	q, err := app.status(ctx)
	status.Queues = append(status.Queues, q)
	return status, err
}

// serveBelow serves what is not the status.
func serveBelow(w http.ResponseWriter, r *http.Request) error {
	serve := map[string]func(*App) error{
		"backup":    func(a *App) error { return a.serveBackup(w, r) },
		"leftovers": func(a *App) error { return a.serveLeftovers(w, r) },
		"prune":     func(a *App) error { return a.servePrune(w, r) },
		"build":     func(a *App) error { return a.serveBuild(w, r) },
		"console":   func(a *App) error { return a.serveConsole(w, r) },

		"notifications":       func(a *App) error { return a.serveNotifications(w, r) },
		"notifications/retry": func(a *App) error { return a.serveRetry(w, r) },
		"notifications/test":  func(a *App) error { return a.serveTest(w, r) },
		"deliveries": func(a *App) error {
			return serveOpened(a, w, r, func(ctl *buildtoken.Controller) []deliveries.Delivery {
				return append([]deliveries.Delivery{}, ctl.Deliveries().List()...)
			})
		},
		"decisions": func(a *App) error { return serveOpened(a, w, r, (*buildtoken.Controller).Decisions) },
		"tokens": func(a *App) error {
			return answerJSON(w, r, func() ([]TokenStatus, error) {
				ctl := a.opened()
				if ctl == nil {
					return nil, buildtoken.ErrShuttingDown
				}
				return tokens(r.Context(), ctl, time.Now())
			})
		},
	}[strings.TrimPrefix(r.URL.Path, adminPath)]
	if strings.HasPrefix(r.URL.Path, adminPath+"buildByToken/") {
		serve = func(a *App) error { return a.serveOperator(w, r) }
	}
	if serve == nil {
		return apiError(http.StatusNotFound, fmt.Errorf("not found: %s", r.URL.Path))
	}
	app, err := activeApp()
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err) // none is loaded yet, or none has it
	}
	return serve(app)
}

// serveOpened answers with what get returns, unless the queue is not open.
func serveOpened[T any](a *App, w http.ResponseWriter, r *http.Request, get func(*buildtoken.Controller) T) error {
	return answerJSON(w, r, func() (answer T, err error) {
		ctl := a.opened()
		if ctl == nil {
			return answer, buildtoken.ErrShuttingDown
		}
		return get(ctl), nil
	})
}

func apiError(status int, err error) error {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// activeApp is the app of the configuration in force.
func activeApp() (*App, error) {
	return asApp(caddy.ActiveContext().AppIfConfigured("build_token"))
}

// status describes the app's queue.
func (a *App) status(ctx context.Context) (QueueStatus, error) {
	status := QueueStatus{Path: a.place, Running: []RunningBuild{}, Jobs: []JobStatus{}}
	ctl := a.opened()
	if why := a.waiting.Load(); why != nil {
		return QueueStatus{}, *why
	}
	if ctl == nil {
		return QueueStatus{}, buildtoken.ErrShuttingDown
	}
	status.Node, status.Executors, status.RemoteBuilds = ctl.Name(), ctl.Executors(), ctl.RemoteBuilds()
	defined := a.jobs()
	names := slices.Sorted(maps.Keys(defined))
	lanes, err := ctl.Lanes(ctx, names...)
	if err != nil {
		return QueueStatus{}, fmt.Errorf("build_token: %w", err)
	}
	for i, lane := range lanes {
		status.Queued += lane.Queued
		status.Jobs = append(status.Jobs, JobStatus{
			Name: names[i], Disabled: defined[names[i]].Disabled,
			Queued: lane.Queued, Running: len(lane.Running), LastNumber: lane.LastNumber, LastCompleted: lane.LastEnded, LastResult: string(lane.Last),
		})
		if j := &status.Jobs[i]; lane.LastEnded > 0 && len(names) <= maxTimed {
			if b, err := ctl.Build(ctx, names[i], lane.LastEnded); err == nil {
				j.LastStarted, j.LastEnded = b.Started, b.Ended
			}
		}
		remote := a.isRemote(names[i])
		for _, number := range lane.Running {
			b, err := ctl.Build(ctx, names[i], number)
			if errors.Is(err, queue.ErrNotFound) || err == nil && !b.Running() {
				continue // it has ended since
			}
			if err != nil {
				return QueueStatus{}, fmt.Errorf("build_token: %w", err)
			}
			status.Running = append(status.Running, RunningBuild{Job: names[i], Number: number, Item: b.Item.ID, Node: b.Node, Started: b.Started, Remote: remote})
		}
	}
	gone, err := ctl.Gone(ctx)
	if err != nil {
		return QueueStatus{}, fmt.Errorf("build_token: %w", err)
	}
	for _, lane := range gone {
		status.Queued += lane.Queued
		status.Gone = append(status.Gone, GoneJob{Name: lane.Job, Queued: lane.Queued, Until: lane.GoneUntil})
	}
	a.explainWaiting(ctx, ctl, &status)
	return status, nil
}

// isRemote reports whether builds of a job only follow another system.
func (a *App) isRemote(full string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.sites, func(s *site) bool {
		j, ok := s.definition.Jobs()[full]
		return ok && j.Remote()
	})
}

// explainWaiting sets the first item of each job, and why it waits.
func (a *App) explainWaiting(ctx context.Context, ctl *buildtoken.Controller, status *QueueStatus) {
	now, first := time.Now(), map[string]queue.Entry{}
	a.mu.Lock()
	sites := slices.Clone(a.sites)
	a.mu.Unlock()
	for _, s := range sites {
		entries, _ := ctl.Items(ctx, s.definition, "", 1000) // without them, the counts are there
		for _, e := range entries {
			if _, known := first[e.Item.Job]; !known {
				first[e.Item.Job] = e
			}
		}
	}
	for i := range status.Jobs {
		if e, ok := first[status.Jobs[i].Name]; ok {
			status.Jobs[i].NextItem, status.Jobs[i].Why = e.Item.ID, web.WhyNow(now, e, "")
		}
	}
	for i := range status.Gone {
		status.Gone[i].NextItem = first[status.Gone[i].Name].Item.ID
	}
}

// jobs are the jobs of all handlers by full name.
func (a *App) jobs() map[string]*job.Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := map[string]*job.Job{}
	for _, s := range a.sites {
		for _, j := range s.definition.Tree().Jobs() {
			all[j.FullName] = j
		}
	}
	return all
}

var (
	_ caddy.Module      = (*Admin)(nil)
	_ caddy.AdminRouter = (*Admin)(nil)
)
