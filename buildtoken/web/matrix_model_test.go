package web_test

import (
	"net/netip"
	"slices"
	"time"
)

// This file is a naive model of the permissions, written from docs/http-api.md and
// docs/security.md. It shares no code with the product. Secrets are plain text, a rule is a Go
// function beside its CEL source, and everything is computed again for each request.

// modelToken is a token with the rule that applies only to its callers.
type modelToken struct {
	secret  string
	level   int // 0 is the job, 1 its folder, 2 the top level
	place   string
	expires time.Time // zero: never
	grants  []string
	rule    string // a key of modelRules, "" for none
}

// modelJob is a job as its callers see it. A job that does not exist is nil.
type modelJob struct {
	name                     string
	tokens                   []modelToken // the nearest level first
	rules                    []string     // of the job and its folders
	disabled, polled, params bool
}

// modelRequest is a request in terms of the model.
type modelRequest struct {
	endpoint, method string
	job              string // as it is written; "" if it is missing
	target           *modelJob
	presented        []string // the presented tokens, in the order in which their places count
	user             string
	addr             netip.Addr
	cross            bool // sent by a browser for a page of another site
	prefetch         bool
	cause            string
	delay            string
	item             string // "" is missing, "own" is one of the job, anything else is another one's
}

// modelRules are the rules that the matrix uses, by their CEL source.
var modelRules = map[string]func(modelRequest) bool{
	`request.method == "POST"`:         func(r modelRequest) bool { return r.method == "POST" },
	`request.remote_ip == "10.0.0.1"`:  func(r modelRequest) bool { return r.addr.Unmap() == netip.MustParseAddr("10.0.0.1") },
	`cause.startsWith("please")`:       func(r modelRequest) bool { return len(r.cause) >= 6 && r.cause[:6] == "please" },
	`params["NOPE"] == "x"`:            func(modelRequest) bool { return false }, // it fails
	`user == "" || user.size() == 5`:   func(r modelRequest) bool { return len(r.user) == 0 || len(r.user) == 5 },
	`delay <= duration("9000h")`:       func(modelRequest) bool { return true },
	`request.headers.size() < 1000000`: func(modelRequest) bool { return true },
}

// modelMayBuild is the access rule for builds: user == "alice" || request.remote_ip == "10.0.0.3".
func modelMayBuild(r modelRequest) bool {
	return r.user == "alice" || r.addr.Unmap() == netip.MustParseAddr("10.0.0.3")
}

const (
	modelMax      = 3 // wrong tokens in a window
	modelWindow   = time.Minute
	modelRemember = 7 * 24 * time.Hour
)

// model is the state that the server keeps of earlier requests.
type model struct {
	wrong     map[[2]string][]time.Time // by client and place: the wrong tokens of the current window
	right     map[[2]string]time.Time   // by client and secret: the last use
	cancelled map[string]bool           // the items that were cancelled, by job
}

// modelClient is an IPv4 address, or the /64 of an IPv6 address.
func modelClient(addr netip.Addr) string {
	if addr = addr.Unmap(); addr.Is4() {
		return addr.String()
	}
	bytes := addr.As16()
	return string(bytes[:8])
}

// status returns the expected status of a request. The cases are in the order of the tables in
// docs/http-api.md.
func (m *model) status(now time.Time, r modelRequest) int {
	trigger := map[string]bool{"build": true, "buildWithParameters": true, "polling": true, "job/build": true}[r.endpoint]
	atJob := r.endpoint == "job/build"
	allowed := []string{"GET", "POST"}
	if r.endpoint == "cancel" {
		allowed = []string{"POST"}
	}
	secret, presented := "", len(r.presented) > 0
	if presented {
		secret = r.presented[0]
	}
	switch {
	case !slices.Contains(allowed, r.method):
		return 405
	case trigger && r.prefetch:
		return 403
	case r.job == "":
		return 400
	case atJob && !presented && r.method != "POST":
		return 405
	case r.target == nil && atJob && r.user == "": // only readers learn that there is no such job
		return 403
	case r.target == nil || len(r.target.tokens) == 0 && !atJob:
		return 404
	}
	grant := r.endpoint
	if trigger {
		grant = "trigger"
	}
	var opened *modelToken
	switch throttled := m.throttled(now, r); {
	case !presented && trigger && modelMayBuild(r):
		if r.method != "POST" {
			return 405
		}
		if r.cross {
			return 403
		}
	case !presented && throttled:
		return 429
	case !presented:
		return 403
	default:
		if opened = valid(now, r.target.tokens, secret); throttled && (opened == nil || !m.remembered(now, r, secret)) {
			return 429
		}
		if opened == nil {
			m.guess(now, r)
			return 403
		}
		if !slices.Contains(opened.grants, grant) {
			return 403
		}
		m.right[[2]string{modelClient(r.addr), secret}] = now
	}
	if !trigger {
		return m.own(r)
	}
	switch {
	case r.target.disabled:
		return 400
	case r.endpoint == "polling" && !r.target.polled:
		return 400
	case r.endpoint == "build" && r.target.params, r.endpoint == "buildWithParameters" && !r.target.params:
		return 400
	case r.delay == "soon":
		return 400
	}
	rules := slices.Clone(r.target.rules)
	if opened != nil && opened.rule != "" {
		rules = append(rules, opened.rule)
	}
	for _, rule := range rules {
		if !modelRules[rule](r) {
			return 403
		}
	}
	if r.endpoint == "polling" {
		return 200
	}
	return 201
}

// own returns the status for the owner of a token with the right grant.
func (m *model) own(r modelRequest) int {
	switch {
	case r.item == "":
		return 400
	case r.item != "own":
		return 404
	case r.endpoint == "status":
		return 200
	case m.cancelled[r.target.name]:
		return 409
	}
	m.cancelled[r.target.name] = true
	return 204
}

// valid returns the nearest token with the secret that has not expired.
func valid(now time.Time, tokens []modelToken, secret string) *modelToken {
	for i, t := range tokens {
		if t.secret == secret && secret != "" && (t.expires.IsZero() || now.Before(t.expires)) {
			return &tokens[i]
		}
	}
	return nil
}

// places returns where the job's tokens are defined.
func places(j *modelJob) []string {
	var all []string
	for _, t := range j.tokens {
		if !slices.Contains(all, t.place) {
			all = append(all, t.place)
		}
	}
	return all
}

func (m *model) throttled(now time.Time, r modelRequest) bool {
	return slices.ContainsFunc(places(r.target), func(place string) bool {
		guesses := m.wrong[[2]string{modelClient(r.addr), place}]
		return len(guesses) >= modelMax && now.Sub(guesses[0]) < modelWindow
	})
}

func (m *model) guess(now time.Time, r modelRequest) {
	for _, place := range places(r.target) {
		at := [2]string{modelClient(r.addr), place}
		if len(m.wrong[at]) > 0 && now.Sub(m.wrong[at][0]) >= modelWindow {
			m.wrong[at] = nil
		}
		m.wrong[at] = append(m.wrong[at], now)
	}
}

func (m *model) remembered(now time.Time, r modelRequest, secret string) bool {
	used, ok := m.right[[2]string{modelClient(r.addr), secret}]
	return ok && now.Sub(used) < modelRemember
}
