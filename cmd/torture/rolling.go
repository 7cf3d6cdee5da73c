package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// rolling restarts servers one after the other behind HAProxy, configured as in
// docs/cluster.md, while clients trigger. Every trigger must be answered with 201, and every
// item must be there in the end.
type rolling struct {
	options
	dir      string
	database *pgserver.Server
	balancer string // its address
	sites    []site
	lives    []*server
	restarts int
	sent     atomic.Int64
	slowest  atomic.Int64

	// mu guards the following.
	mu    sync.Mutex
	items map[string]bool // by their addresses
	found []string
}

// trialRolling runs in dir, which is removed if nothing was found.
func trialRolling(ctx context.Context, o options, dir string) ([]string, error) {
	r := &rolling{options: o, dir: filepath.ToSlash(dir), items: map[string]bool{}}
	err := r.run(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	say(fmt.Sprintf("%d triggers, %d items, %d restarts, slowest answer %v, %d failed", r.sent.Load(), len(r.items), r.restarts,
		time.Duration(r.slowest.Load()).Round(time.Millisecond), len(r.found)))
	if len(r.found) == 0 && err == nil {
		err = os.RemoveAll(dir)
	}
	return r.found, err
}

func (r *rolling) run(ctx context.Context) (err error) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		program = "/usr/sbin/haproxy"
	}
	if r.database, err = pgserver.Start(); err != nil { //nolint:contextcheck // it is bounded by itself
		return fmt.Errorf("start Postgres: %w", err)
	}
	defer func() { _ = r.database.Stop() }()
	if err := r.addresses(ctx); err != nil {
		return err
	}
	defer func() {
		for _, srv := range r.lives {
			srv.kill(false)
		}
	}()
	for n := range r.sites {
		srv, err := r.start(ctx, n)
		if srv != nil { // it runs, even if it does not answer
			r.lives = append(r.lives, srv)
		}
		if err != nil {
			return err
		}
	}
	config := filepath.Join(r.dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(r.haproxy()), 0o600); err != nil {
		return fmt.Errorf("write the balancer's configuration: %w", err)
	}
	balancer := exec.Command(program, "-db", "-f", config) //nolint:gosec,noctx // of the harness, which ends it
	log, err := os.Create(filepath.Join(r.dir, "haproxy.log"))
	if err != nil {
		return fmt.Errorf("create a log: %w", err)
	}
	defer func() { _ = log.Close() }() // the process has its own
	balancer.Stdout, balancer.Stderr = log, log
	if err := balancer.Start(); err != nil {
		return fmt.Errorf("start HAProxy: %w", err)
	}
	defer func() {
		_ = balancer.Process.Kill()
		_ = balancer.Wait()
	}()
	if err := r.answers(ctx, "http://"+r.balancer+"/build_token/ready", nil); err != nil {
		return err
	}
	var clients sync.WaitGroup
	for range r.clients {
		clients.Go(func() { r.trigger(ctx) })
	}
	done := make(chan struct{})
	go func() { // ends with the clients; the loop below waits for it
		clients.Wait()
		close(done)
	}()
	for n := 0; ; n = (n + 1) % len(r.sites) {
		select {
		case <-done:
			return r.check(ctx)
		default:
		}
		if !r.lives[n].stop(time.Minute) {
			r.report("server %d did not end by itself", n+1)
		}
		r.restarts++ // names the log of the next life
		srv, err := r.start(ctx, n)
		if srv != nil {
			r.lives[n] = srv
		}
		if err != nil {
			return err
		}
	}
}

// addresses takes free ports and makes the folders of the servers.
func (r *rolling) addresses(ctx context.Context) error {
	r.sites = make([]site, max(r.servers, 2))
	free := []*string{&r.balancer}
	for n := range r.sites {
		s := &r.sites[n]
		s.dir, s.home = r.dir, fmt.Sprintf("%s/n%d", r.dir, n+1)
		if err := os.Mkdir(s.home, 0o700); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
		free = append(free, &s.address)
	}
	return reserve(ctx, free...)
}

// start starts a server, and returns when it is ready.
func (r *rolling) start(ctx context.Context, n int) (*server, error) {
	srv, err := startServer(r.binary, r.sites[n], r.restarts, fmt.Sprintf(`{
admin off
auto_https off
persist_config off
skip_install_trust
shutdown_delay 3s
build_token {
queue postgres %q {
key %s
}
node n%d
queue_limit 1000000
keep_builds 0
}
}
http://%s {
build_token {
ready
methods POST
token T {
grant trigger status
}
job work {
coalesce never
param N string
run true
}
}
}
`, r.database.URL(), strings.Repeat("5e", 32), n+1, r.sites[n].address))
	if err != nil {
		return nil, err
	}
	return srv, r.answers(ctx, "http://"+r.sites[n].address+"/build_token/ready", srv.ended)
}

// haproxy is the configuration of the balancer.
func (r *rolling) haproxy() string {
	var b strings.Builder
	fmt.Fprintf(&b, `defaults
    log stdout format raw daemon
    option httplog
    option dontlog-normal
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind %s
    default_backend ci
backend ci
    option httpchk
    http-check send meth GET uri /build_token/ready ver HTTP/1.1 hdr Host 127.0.0.1
    http-check expect rstring ^ready
    default-server check inter 500ms fall 1 rise 1
    retry-on conn-failure
    retries 3
    option redispatch
`, r.balancer)
	for n, s := range r.sites {
		fmt.Fprintf(&b, "    server n%d %s\n", n+1, s.address)
	}
	return b.String()
}

// answers waits until an address answers 200, and fails if ended is closed before.
func (*rolling) answers(ctx context.Context, at string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return fmt.Errorf("ask %s: %w", at, err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ended:
			return errors.New("the server ended while it started")
		default:
		}
		if !pause(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s does not answer", at)
		}
	}
}

// trigger triggers until there were enough. One in ten builds starts at once.
func (r *rolling) trigger(ctx context.Context) {
	for n := r.sent.Add(1); n <= r.rolling && ctx.Err() == nil; n = r.sent.Add(1) {
		form := url.Values{"job": {"work"}, "N": {fmt.Sprint(n)}}
		if n%10 != 0 {
			form.Set("delay", "24h")
		}
		began := now()
		status, location, err := r.post(ctx, form)
		took := int64(now().Sub(began))
		for old := r.slowest.Load(); took > old && !r.slowest.CompareAndSwap(old, took); old = r.slowest.Load() {
		}
		if err != nil || status != http.StatusCreated {
			r.report("trigger %d at %s: %d, %v", n, now().UTC().Format(clock), status, err)
			continue
		}
		r.mu.Lock()
		if r.items[location] {
			r.found = append(r.found, fmt.Sprintf("trigger %d: the item %s was made before", n, location))
		}
		r.items[location] = true
		r.mu.Unlock()
	}
	r.sent.Add(-1)
}

func (r *rolling) post(ctx context.Context, form url.Values) (status int, location string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.balancer+"/buildByToken/buildWithParameters", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer T")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("Location"), nil
}

// check looks for every item that was answered.
func (r *rolling) check(ctx context.Context) error {
	for item := range r.items {
		parts := strings.Split(strings.TrimSuffix(item, "/"), "/")
		at := "http://" + r.balancer + "/buildByToken/status?job=work&item=" + parts[len(parts)-1]
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return fmt.Errorf("ask %s: %w", at, err)
		}
		req.Header.Set("Authorization", "Bearer T")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("ask for an item: %w", err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			r.report("item %s: %d", item, resp.StatusCode)
		}
	}
	return nil
}

func (r *rolling) report(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.found = append(r.found, fmt.Sprintf(format, args...))
}
