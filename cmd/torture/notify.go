package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// notifies kills servers that notify a receiver, which fails too. In the end, the receiver must
// have accepted the end of every build, in order, and nothing about an item after a later state
// of it.
type notifies struct {
	options
	d        dice
	dir      string
	database *pgserver.Server // nil: one server, with a queue in a file
	sites    []site
	running  []*server
	lives    int
	receiver *receiver

	// crowded is set while so many notifications wait that the queue would soon give up the
	// oldest.
	crowded atomic.Bool

	// mu guards the following.
	mu    sync.Mutex
	sent  int
	items map[int64]string // the jobs of acknowledged triggers
	found []string
}

// notifyJobs is how many jobs there are, each with a target.
const notifyJobs = 5

func newNotifies(ctx context.Context, o options, dir string) (_ *notifies, release func(), err error) {
	n := &notifies{options: o, d: newDice(o.seed, 0), dir: filepath.ToSlash(dir), items: map[int64]string{}}
	var library *reference
	if o.reference != "" {
		if library, err = startReference(o.reference); err != nil {
			return nil, nil, err
		}
	}
	n.receiver = newReceiver(library, n.wrong)
	release = func() {
		if library != nil {
			library.close()
		}
		n.receiver.close()
		if n.database != nil {
			_ = n.database.Stop()
		}
	}
	if o.servers > 0 {
		if n.database, err = pgserver.Start(); err != nil { //nolint:contextcheck // it is bounded by itself
			release()
			return nil, nil, fmt.Errorf("start Postgres: %w", err)
		}
	}
	for i := range max(o.servers, 1) {
		s := site{dir: n.dir, home: fmt.Sprintf("%s/n%d", n.dir, i+1)}
		for _, address := range []*string{&s.address, &s.admin} {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				release()
				return nil, nil, fmt.Errorf("find a free address: %w", err)
			}
			*address = l.Addr().String()
			defer func() { _ = l.Close() }() // freed when all are known
		}
		if err := os.MkdirAll(s.home, 0o700); err != nil {
			release()
			return nil, nil, fmt.Errorf("make a folder: %w", err)
		}
		n.sites = append(n.sites, s)
	}
	n.running = make([]*server, len(n.sites))
	return n, release, nil
}

// trialNotifies runs the harness in dir, which is removed if there was no failure.
func trialNotifies(ctx context.Context, o options, dir string) ([]string, error) {
	n, release, err := newNotifies(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	defer release()
	defer func() {
		for _, srv := range n.running {
			if srv != nil {
				srv.kill(false)
			}
		}
	}()
	err = n.run(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.found) == 0 && err == nil {
		err = os.RemoveAll(dir)
	}
	return n.found, err
}

func (n *notifies) caddyfile(i int) string {
	s := n.sites[i]
	where := fmt.Sprintf("queue bolt %q", s.home+"/queue.db")
	if n.database != nil {
		where = fmt.Sprintf("queue postgres %q {\ntakeover_after 6s\nkey %s\n}\nnode n%d", n.database.URL(), key, i+1)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "{\nadmin %s\nauto_https off\npersist_config off\nskip_install_trust\ngrace_period 1s\nbuild_token {\n%s\n"+
		"executors 4\nkeep_builds 1000000\nshutdown_timeout 1s\nwrong_tokens off\n}\n}\n", s.admin, where)
	fmt.Fprintf(&b, "http://%s {\nbuild_token {\nroot_url http://torture.test\naccess {\nread `true`\n}\ntoken %s\nquiet_period 0\n", s.address, secret)
	for j := range notifyJobs {
		fmt.Fprintf(&b, "job j%d {\ncoalesce never\nnotify in %s/j%d {\non queued started always\nsecret %s\n}\nrun sleep 0.0%d\n}\n",
			j, n.receiver.url(), j, receiverSecret, j)
	}
	return b.String() + "}\n}\n"
}

// run starts and ends servers until the time is over, and then compares both sides.
func (n *notifies) run(ctx context.Context) error {
	for i := range n.sites {
		if err := n.start(ctx, i); err != nil {
			return err
		}
	}
	end := now().Add(n.length)
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	var all sync.WaitGroup
	for k := range n.clients {
		d := newDice(n.seed, uint64(k)+1)
		all.Go(func() { // waited for below
			for pause(work, d.mostlyShort(400*time.Millisecond)) {
				if !n.crowded.Load() {
					n.trigger(work, d)
				}
			}
		})
	}
	nudging, stopNudging := context.WithCancel(ctx)
	defer stopNudging()
	var nudges sync.WaitGroup
	nudges.Go(func() { // waited for below
		for d := newDice(n.seed, 1<<20); pause(nudging, 300*time.Millisecond); {
			n.nudge(nudging, n.sites[d.IntN(len(n.sites))])
		}
	})
	for now().Before(end) && (n.kills == 0 || n.lives < n.kills) && pause(ctx, n.d.mostlyShort(3*time.Second)) {
		n.receiver.disturb(n.d, n.length > time.Minute)
		if err := n.disturb(ctx); err != nil {
			return err
		}
	}
	cancel()
	all.Wait()
	n.receiver.heal()
	err := n.compare(ctx)
	stopNudging()
	nudges.Wait()
	return errors.Join(err, ctx.Err())
}

func (n *notifies) start(ctx context.Context, i int) error {
	n.lives++
	srv, err := startServer(n.binary, n.sites[i], n.lives, n.caddyfile(i))
	if err != nil {
		return err
	}
	n.running[i] = srv
	c := newClient(n.sites[i])
	defer c.close()
	if err := srv.ready(ctx, c); err != nil {
		return fmt.Errorf("life %d: %w", n.lives, err)
	}
	return nil
}

// disturb kills, suspends or reloads one of the servers.
func (n *notifies) disturb(ctx context.Context) error {
	i := n.d.IntN(len(n.sites))
	srv := n.running[i]
	switch chance := n.d.IntN(100); {
	case chance < 40: // a receiver that was gone is tried again
		n.reload(ctx, n.sites[i], i)
		return nil
	case chance < 55 && n.database != nil:
		if pauseProcess(srv.cmd.Process) == nil {
			pause(ctx, n.d.within(10*time.Second))
			_ = resumeProcess(srv.cmd.Process)
		}
		return nil
	case chance < 70:
		srv.stop(20 * time.Second)
	default:
		srv.kill(false)
	}
	if n.database != nil && n.d.chance(50) {
		pause(ctx, n.d.within(9*time.Second)) // long enough to be given up
	}
	return n.start(ctx, i)
}

// call sends a request to a server's admin API.
func (n *notifies) call(ctx context.Context, s site, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.admin+path, strings.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Content-Type", "text/caddyfile")
	req.Header.Set("Cache-Control", "must-revalidate") // loads the configuration even if it did not change
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s: %.200s", resp.Status, text)
	}
	return text, err
}

func (n *notifies) reload(ctx context.Context, s site, i int) {
	_, _ = n.call(ctx, s, http.MethodPost, "/load", n.caddyfile(i)) // the server may be dying
}

// outbox is what the admin API shows of notifications.
type outbox struct {
	Targets []struct {
		Target  string
		Waiting int
		GivenUp int `json:"given_up"`
		Gone    bool
	}
	Notifications []struct {
		ID    int64
		State string
		Tries int
		Next  time.Time
	}
}

func (n *notifies) outbox(ctx context.Context, s site) (o outbox, err error) {
	text, err := n.call(ctx, s, http.MethodGet, "/build_token/notifications", "")
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	return o, err
}

// nudge makes failed notifications due, which would otherwise wait for minutes or hours.
func (n *notifies) nudge(ctx context.Context, s site) {
	o, err := n.outbox(ctx, s)
	if err != nil {
		return // the server may be dying
	}
	crowded := false
	for _, t := range o.Targets {
		crowded = crowded || t.Waiting > 200
	}
	n.crowded.Store(crowded)
	for _, one := range o.Notifications {
		if one.State == "waiting" && one.Tries > 0 && one.Next.After(now()) {
			_, _ = n.call(ctx, s, http.MethodPost, fmt.Sprintf("/build_token/notifications/retry?id=%d", one.ID), "") // it may be sent meanwhile
		}
	}
}

// trigger starts one build.
func (n *notifies) trigger(ctx context.Context, d dice) {
	s, job := n.sites[d.IntN(len(n.sites))], fmt.Sprintf("j%d", d.IntN(notifyJobs))
	c := newClient(s)
	defer c.close()
	n.mu.Lock()
	n.sent++
	n.mu.Unlock()
	item, err := c.build(ctx, "build", url.Values{"job": {job}})
	if err != nil {
		n.wrong("%s: %v", job, err)
	}
	if item == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.items[item] = job
}

func (n *notifies) wrong(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.found = append(n.found, fmt.Sprintf(format, args...))
}

// compare waits until no notification waits, and compares what was accepted with what happened.
func (n *notifies) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for i, s := range n.sites {
		n.reload(ctx, s, i)
	}
	c := newClient(n.sites[0])
	defer c.close()
	results := map[int64]string{} // "#3 SUCCESS" by item
	for item, job := range n.items {
		result, err := n.end(ctx, c, job, item)
		if err != nil {
			return fmt.Errorf("item %d of %s: %w", item, job, err)
		}
		results[item] = result
	}
	for {
		o, err := n.outbox(ctx, n.sites[0])
		if err != nil {
			return err
		}
		waiting := 0
		for _, t := range o.Targets {
			waiting += t.Waiting
		}
		if waiting == 0 {
			for _, t := range o.Targets {
				if t.GivenUp > 0 {
					n.wrong("%d notifications to %s were given up", t.GivenUp, t.Target)
				}
			}
			break
		}
		if !pause(ctx, 200*time.Millisecond) {
			n.wrong("%d notifications still wait: %+v", waiting, o)
			return nil
		}
	}
	ended := n.receiver.check()
	for item, result := range results {
		if got := ended[item]; got != result {
			n.wrong("item %d of %s ended as %s; the receiver got %q", item, n.items[item], result, got)
		}
	}
	say(n.receiver.report(), fmt.Sprintf("%d lives, %d triggers, %d acknowledged", n.lives, n.sent, len(results)))
	return nil
}

// end waits for the end of an item's build.
func (n *notifies) end(ctx context.Context, c *client, job string, item int64) (string, error) {
	for {
		var it struct{ Executable *struct{ Number int64 } }
		if err := c.get(ctx, fmt.Sprintf("/queue/item/%d/api/json", item), &it); err != nil {
			return "", err
		}
		if it.Executable != nil {
			var b struct{ Result string }
			if err := c.get(ctx, fmt.Sprintf("/job/%s/%d/api/json", job, it.Executable.Number), &b); err != nil {
				return "", err
			}
			if b.Result != "" {
				return fmt.Sprintf("#%d %s", it.Executable.Number, b.Result), nil
			}
		}
		if !pause(ctx, 100*time.Millisecond) {
			return "", errors.New("it does not end")
		}
	}
}
