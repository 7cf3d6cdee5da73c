package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// client talks to one life of the server.
type client struct {
	site site
	// reads may reuse connections. triggers may not: on a reused connection, Go's client
	// repeats a request that got no answer.
	reads, triggers *http.Client
}

func newClient(s site) *client {
	connect := func(alone bool) *http.Client {
		return &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: alone, MaxIdleConnsPerHost: 16},
			Timeout:       20 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &client{site: s, reads: connect(false), triggers: connect(true)}
}

func (c *client) close() { c.reads.CloseIdleConnections() }

// statusError is an answer that is not 200.
type statusError struct {
	status int
	body   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %.200s", e.status, e.body) }

// reply is a complete answer.
type reply struct {
	status   int
	location string
	body     string
}

// do sends a request and reads the whole answer.
func (c *client) do(via *http.Client, r *http.Request) (reply, error) {
	resp, err := via.Do(r)
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	raw, err := io.ReadAll(resp.Body)
	if err == nil {
		err = resp.Body.Close()
	}
	if err != nil {
		return reply{}, fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
	}
	return reply{resp.StatusCode, resp.Header.Get("Location"), string(raw)}, nil
}

// get reads JSON from a path of the site.
func (c *client) get(ctx context.Context, at string, into any) error {
	body, err := c.text(ctx, at)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		return fmt.Errorf("GET %s: %w in %.300s", at, err, body)
	}
	return nil
}

func (c *client) text(ctx context.Context, at string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.site.address+at, nil)
	if err != nil {
		return "", fmt.Errorf("GET %s: %w", at, err)
	}
	got, err := c.do(c.reads, r)
	if err != nil {
		return "", err
	}
	if got.status != http.StatusOK {
		return "", &statusError{got.status, got.body}
	}
	return got.body, nil
}

// post sends an empty POST and returns the status.
func (c *client) post(ctx context.Context, at string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.site.address+at, nil)
	if err != nil {
		return 0, fmt.Errorf("POST %s: %w", at, err)
	}
	got, err := c.do(c.triggers, r)
	return got.status, err
}

// load sends a configuration to the admin endpoint.
func (c *client) load(ctx context.Context, caddyfile string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.site.admin+"/load", strings.NewReader(caddyfile))
	if err != nil {
		return 0, "", fmt.Errorf("POST /load: %w", err)
	}
	r.Header.Set("Content-Type", "text/caddyfile")
	got, err := c.do(c.triggers, r)
	return got.status, got.body, err
}

// build triggers a build, and returns its item: 0 if the server died or shut down meanwhile.
func (c *client) build(ctx context.Context, action string, fields url.Values) (int64, error) {
	fields.Set("token", secret)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.site.address+"/buildByToken/"+action+"?"+fields.Encode(), nil)
	if err != nil {
		return 0, fmt.Errorf("trigger: %w", err)
	}
	got, err := c.do(c.triggers, r)
	if err != nil || got.status == http.StatusServiceUnavailable {
		return 0, nil //nolint:nilerr // that is part of the test
	}
	item, err := strconv.ParseInt(path.Base(got.location), 10, 64)
	if got.status != http.StatusCreated || err != nil {
		return 0, fmt.Errorf("trigger: status %d: %.200s", got.status, got.body)
	}
	return item, nil
}

// answer is the answer to a trigger.
type answer struct {
	status  int
	body    string
	id      int64 // of the item, if there is one
	created bool
	end     *endJSON // how the build ended, if the answer waited for the end
}

// trigger sends a trigger in one of the possible ways.
func (c *client) trigger(ctx context.Context, d dice, t *trigger, said map[string]string, delay string) (answer, error) {
	fields := url.Values{"job": {t.job.name}, "cause": {t.cause}}
	if delay != "" {
		fields.Set("delay", delay)
	}
	for name, value := range said {
		fields.Set(name, value)
	}
	action := "build"
	if len(t.job.params) > 0 {
		action = "buildWithParameters"
	}
	bearer := d.chance(50)
	if !bearer {
		fields.Set("token", secret)
	}
	at := "http://" + c.site.address + "/buildByToken/" + action
	method, body := http.MethodGet, ""
	if d.chance(50) {
		method, body = http.MethodPost, fields.Encode()
	} else {
		at += "?" + fields.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, at, strings.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("trigger: %w", err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if bearer {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	if t.key != "" {
		r.Header.Set("Idempotency-Key", `"`+t.key+`"`)
	}
	if t.wait > 0 {
		r.Header.Set("Prefer", "wait="+strconv.Itoa(t.wait))
	}
	asJSON := d.chance(30) || t.wait > 0
	if asJSON {
		r.Header.Set("Accept", "application/json")
	}
	got, err := c.do(c.triggers, r)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: got.status, body: got.body, created: got.status == http.StatusCreated}
	if got.status != http.StatusCreated && got.status != http.StatusSeeOther {
		return a, nil
	}
	a.id, err = strconv.ParseInt(path.Base(got.location), 10, 64)
	if err != nil {
		return a, fmt.Errorf("trigger: Location %q: %w", got.location, err)
	}
	if asJSON {
		var said struct {
			ID      int64
			Created bool
			endJSON
		}
		err := json.Unmarshal([]byte(got.body), &said)
		if said.State != "" { // the status is always the same then
			a.created, a.end = said.Created, &said.endJSON
		}
		if err != nil || said.ID != a.id || said.Created != a.created {
			return a, fmt.Errorf("trigger: body %q does not fit status %d, item %d", got.body, a.status, a.id)
		}
	}
	return a, nil
}
