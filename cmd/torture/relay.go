package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/internal/jenkinstest"
)

// relays kills a server whose builds are builds of a Jenkins, which fails too. In the end, no trigger has reached Jenkins
// twice, and the results are the same on both sides.
type relays struct {
	options
	site    site
	d       dice
	jenkins *jenkinstest.Server
	behind  *httptest.Server
	lives   int

	// mu guards the following.
	mu    sync.Mutex
	sent  int
	items map[string]int64 // of triggers that were acknowledged, by the value of ID
	found []string
}

const relayToken = "j0btoken"

// newRelays starts Jenkins and takes the addresses.
func newRelays(ctx context.Context, o options, dir string) (_ *relays, release func(), err error) {
	r := &relays{options: o, d: newDice(o.seed, 0), items: map[string]int64{}, site: site{dir: filepath.ToSlash(dir), home: filepath.ToSlash(dir)}}
	if err := reserve(ctx, &r.site.address, &r.site.admin); err != nil {
		return nil, nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, nil, fmt.Errorf("make a folder: %w", err)
	}
	r.jenkins = jenkinstest.New(jenkinstest.Options{User: "edge", APIToken: "s3cret", Jobs: []jenkinstest.Job{{
		Name: "far/work", Token: relayToken, Params: map[string]string{"ID": ""}, Concurrent: true, Run: work,
	}}})
	r.behind = httptest.NewServer(r.jenkins)
	return r, func() {
		r.behind.CloseClientConnections()
		r.behind.Close()
		r.jenkins.Close()
	}, nil
}

// trialRelays runs the harness in dir, which is removed if nothing was found.
func trialRelays(ctx context.Context, o options, dir string) ([]string, error) {
	r, release, err := newRelays(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	err = r.run(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.found) == 0 && err == nil {
		err = os.RemoveAll(dir)
	}
	return r.found, err
}

// work is what a build does in Jenkins. The ID decides how long it takes and how it ends.
func work(b *jenkinstest.Build) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(b.Params["ID"]))
	d := newDice(h.Sum64(), 0)
	for range 3 {
		_, _ = fmt.Fprintf(b, "working on %s\n", b.Params["ID"])
		pause(b.Context(), d.mostlyShort(time.Second))
	}
	_, _ = fmt.Fprintf(b, "done with %s\n", b.Params["ID"])
	return []string{"SUCCESS", "SUCCESS", "FAILURE", "UNSTABLE", "NOT_BUILT"}[d.IntN(5)]
}

func (r *relays) caddyfile() string {
	return fmt.Sprintf(`{
admin %s
auto_https off
persist_config off
skip_install_trust
grace_period 1s
build_token {
queue bolt %q
remote_builds 500
keep_builds 1000000
shutdown_timeout 1s
wrong_tokens off
}
}
http://%s {
build_token {
access {
read `+"`true`"+`
}
job relay {
token %s
quiet_period 0s
concurrent
param ID string
runner jenkins %s far/work {
user edge s3cret
job_token %s
}
}
}
}
`, r.site.admin, r.site.dir+"/data/queue.db", r.site.address, secret, r.behind.URL, relayToken)
}

// run lives and dies until the time is over, then compares both sides.
func (r *relays) run(ctx context.Context) error {
	end := now().Add(r.length)
	for now().Before(end) && (r.kills == 0 || r.lives < r.kills) {
		if err := r.oneLife(ctx, end); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	r.jenkins.Set(func(f *jenkinstest.Faults) { *f = jenkinstest.Faults{} })
	return r.compare(ctx)
}

func (r *relays) start(ctx context.Context, c *client) (*server, error) {
	r.lives++
	srv, err := startServer(r.binary, r.site, r.lives, r.caddyfile())
	if err != nil {
		return nil, err
	}
	if err := srv.ready(ctx, c); err != nil {
		srv.kill(false)
		return nil, fmt.Errorf("life %d: %w", r.lives, err)
	}
	return srv, nil
}

// oneLife starts the server, lets clients at it while Jenkins fails, and ends it.
func (r *relays) oneLife(ctx context.Context, end time.Time) error {
	c := newClient(r.site)
	defer c.close()
	srv, err := r.start(ctx, c)
	if err != nil {
		return err
	}
	defer srv.kill(false) // whatever happens; killing twice is allowed
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for n := range r.clients {
		d := newDice(r.seed, uint64(r.lives)<<8|uint64(n)+1) //nolint:gosec // both are small
		all.Go(func() {                                      // waited for below
			for pause(ctx, d.mostlyShort(300*time.Millisecond)) {
				r.trigger(ctx, c)
			}
		})
	}
	life, over := context.WithTimeout(ctx, min(r.d.mostlyShort(8*time.Second), end.Sub(now())))
	defer over()
	for d := newDice(r.seed, uint64(r.lives)<<8); pause(life, d.mostlyShort(time.Second)); { //nolint:gosec // it is small
		r.disturb(d)
	}
	switch {
	case r.d.chance(60):
		srv.kill(false)
	default:
		srv.stop(20 * time.Second)
	}
	cancel()
	all.Wait()
	return r.complaints(srv)
}

func (r *relays) complaints(srv *server) error {
	lines, err := srv.complaints(nil)
	for _, line := range lines {
		r.wrong("life %d: the server's log says: %.600s", r.lives, line)
	}
	return err
}

// disturb changes what fails in Jenkins.
func (r *relays) disturb(d dice) {
	if d.chance(10) {
		r.jenkins.Restart()
	}
	down := d.chance(20)
	r.jenkins.Set(func(f *jenkinstest.Faults) {
		*f = jenkinstest.Faults{Forget: d.chance(30), NoExecutable: d.chance(20), Hold: d.chance(20)}
		if d.chance(50) {
			f.ResetAfterTrigger = d.IntN(3)
		}
		if d.chance(20) {
			f.ResetBeforeTrigger = d.IntN(2)
		}
		if down {
			f.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
				w.WriteHeader(http.StatusBadGateway)
				return true
			}
		}
	})
}

// trigger starts one build, which no other trigger is equal to.
func (r *relays) trigger(ctx context.Context, c *client) {
	r.mu.Lock()
	r.sent++
	id := fmt.Sprintf("%d-%d", r.lives, r.sent)
	r.mu.Unlock()
	item, err := c.build(ctx, "buildWithParameters", url.Values{"job": {"relay"}, "ID": {id}})
	if err != nil {
		r.wrong("%s: %v", id, err)
	}
	if item == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items[id] = item
}

func (r *relays) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = append(r.found, fmt.Sprintf(format, args...))
}

// compare starts the server once more, waits until all builds have ended, and compares them with those in Jenkins.
func (r *relays) compare(ctx context.Context) error {
	c := newClient(r.site)
	defer c.close()
	srv, err := r.start(ctx, c)
	if err != nil {
		return err
	}
	defer srv.kill(false) // whatever happens; killing twice is allowed
	here := map[string]ended{}
	// In the order in which they are built, so that each has its time after the one before.
	for _, id := range slices.SortedFunc(maps.Keys(r.items), func(a, b string) int { return cmp.Compare(r.items[a], r.items[b]) }) {
		if here[id], err = r.end(ctx, c, r.items[id]); err != nil {
			return fmt.Errorf("trigger %s, item %d: %w", id, r.items[id], err)
		}
	}
	far := map[string]*jenkinstest.Build{}
	for _, b := range r.jenkins.Builds() {
		id := b.Params["ID"]
		if other := far[id]; other != nil || len(b.Causes) > 1 {
			r.wrong("trigger %s was sent to Jenkins twice: build #%d, %v, and %v", id, b.Number, b.Causes, other)
		}
		far[id] = b
	}
	counts := map[string]int{}
	for id, e := range here {
		counts[e.result]++
		switch b := far[id]; {
		case b == nil && (e.result == "SUCCESS" || e.result == "UNSTABLE" || e.result == "FAILURE"):
			r.wrong("trigger %s is not in Jenkins, and ended as %s", id, e.result)
		case b != nil && b.Result() != e.result:
			r.wrong("trigger %s ended as %s in Jenkins and as %s here: %.2000s", id, b.Result(), e.result, e.log)
		case b != nil && e.result != "ABORTED" && strings.Count(e.log, "done with "+id+"\n") == 0:
			r.wrong("trigger %s has no end in the log: %.2000s", id, e.log)
		}
	}
	say(fmt.Sprintf("%d lives, %d triggers, %d acknowledged, %d builds in Jenkins; results: %v", r.lives, r.sent, len(here), len(far), counts))
	if !srv.stop(20*time.Second) || srv.err != nil {
		r.wrong("SIGTERM did not end the server well: %v", srv.err)
	}
	return r.complaints(srv)
}

// ended is a build of the server.
type ended struct{ result, log string }

// endsWithin is longer than lost_after: then a build ends whatever Jenkins does, and however slow this machine is.
const endsWithin = 20 * time.Minute

// end waits for the end of an item's build.
func (r *relays) end(ctx context.Context, c *client, item int64) (ended, error) {
	ctx, cancel := context.WithTimeout(ctx, endsWithin)
	defer cancel()
	for {
		var it struct {
			Executable *struct{ Number int64 }
		}
		if err := c.get(ctx, fmt.Sprintf("/queue/item/%d/api/json", item), &it); err != nil {
			return ended{}, err
		}
		if it.Executable != nil {
			var b struct{ Result string }
			at := fmt.Sprintf("/job/relay/%d", it.Executable.Number)
			if err := c.get(ctx, at+"/api/json", &b); err != nil {
				return ended{}, err
			}
			if b.Result != "" {
				log, err := c.text(ctx, at+"/consoleText")
				return ended{b.Result, log}, err
			}
		}
		if !pause(ctx, 200*time.Millisecond) {
			return ended{}, errors.New("it does not end")
		}
	}
}
