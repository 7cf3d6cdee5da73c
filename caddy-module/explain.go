package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/token"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/hooks"
)

// Explained is what a trigger or delivery would do, as `caddy build-token explain --json`
// prints it.
type Explained struct {
	// The job, as it was named.
	Job string `json:"job"`
	// Accepted, refused or, for a delivery, ignored.
	Decision string `json:"decision"`
	// The status and, if it is not accepted, the text of the answer.
	Status int    `json:"status"`
	Answer string `json:"answer,omitempty"`
	// The check that refused it, and its rule with file and line.
	Check string `json:"check,omitempty"`
	Rule  string `json:"rule,omitempty"`
	At    string `json:"at,omitempty"`
	// All checks that were made, in their order.
	Steps []ExplainedStep `json:"steps"`
}

// ExplainedStep is one check.
type ExplainedStep struct {
	// For the check of a delivery's job: the job.
	Job   string `json:"job,omitempty"`
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Found string `json:"found,omitempty"`
	// The rule, with its expression, file and line.
	Rule       string `json:"rule,omitempty"`
	Expression string `json:"expression,omitempty"`
	At         string `json:"at,omitempty"`

	otherEvent bool     // see [definition.Step]
	reads      []string // what the rule reads
}

// The decisions.
const (
	decisionAccepted = "accepted"
	decisionRefused  = "refused"
	decisionIgnored  = "ignored"
)

// question is a trigger to explain.
type question struct {
	job    string
	method string
	action definition.Action // empty: the one that fits
	token  *string           // the name of a token, "" for none; nil: the first that may trigger
	user   string
	remote netip.Addr
	cause  *string
	delay  *string
	params map[string][]string
	files  map[string]definition.Upload
	hook   string // the name of a webhook that delivered it
	now    time.Time

	// For triggers of the past: where the token is defined, whether either endpoint will
	// do, and whether it came over the admin API.
	place    *string
	anyKind  bool
	operator bool
}

// explain makes the checks of a trigger. Those that depend on the running server are left
// out: the wrong tokens that a client has shown, and whether the queue is full.
func (a *App) explain(ctx context.Context, q *question) Explained {
	s := a.siteWith(q.job)
	result := Explained{Job: q.job, Decision: decisionAccepted, Status: http.StatusCreated}
	if s == nil {
		result.refuse("job", errors.New("the configuration has no build_token directive"), http.StatusNotFound)
		return result
	}
	counts := q.hook == "" && !q.operator // webhooks and the admin API have fixed methods
	if counts && !s.public.MayTrigger(q.method) {
		result.refuse("method", &web.MethodError{Allow: s.public.TriggerMethods()}, http.StatusMethodNotAllowed)
		result.Steps[0].Found = q.method + " is none of " + strings.Join(s.public.TriggerMethods(), ", ")
		return result
	}
	if counts {
		result.Steps = append(result.Steps, ExplainedStep{Check: "method", OK: true, Found: q.method})
	}
	t, note := s.triggerOf(q)
	var x definition.Explanation
	_, err := s.definition.Admit(ctx, q.now, definition.Guard{}, &t, &x)
	result.add("", x.Steps, s.lines)
	if errors.Is(err, definition.ErrUnknownJob) {
		if meant := nearestJob(q.job, s.definition.Tree().Jobs()); meant != "" {
			result.Steps[len(result.Steps)-1].Found += fmt.Sprintf(" (did you mean %s?)", meant)
		}
	}
	ignored := ignoredParams(s.definition, q)
	for i := range result.Steps {
		switch step := &result.Steps[i]; {
		case step.Check == string(definition.CheckToken):
			step.Found += note
		case step.Check == string(definition.CheckParameters) && step.OK && len(ignored) > 0:
			step.Found = strings.TrimSpace(step.Found + " (ignored: " + strings.Join(ignored, ", ") + ")")
		}
	}
	if err != nil {
		v := web.VerdictOf(err)
		result.decide(decisionRefused, v.Status, v.Text)
	} else if t.Action == definition.Polling {
		result.Status = http.StatusOK
	}
	return result
}

// nearestJob returns the full name of the job that was probably meant: one with that name in a
// folder, perhaps written as in Jenkins' URLs, or one whose name is misspelt; "" if there is none.
func nearestJob(given string, jobs []*job.Job) string {
	given = strings.ReplaceAll("/"+strings.Trim(given, "/"), "/job/", "/")[1:]
	var names []string
	for _, j := range jobs {
		if j.FullName == given || strings.HasSuffix(j.FullName, "/"+given) {
			return j.FullName
		}
		names = append(names, j.FullName)
	}
	return nearestFold(given, names)
}

// refuse adds a check that refused the trigger, and decides.
func (e *Explained) refuse(check string, err error, status int) {
	e.Steps = append(e.Steps, ExplainedStep{Check: check, Found: foundText(err.Error())})
	e.decide(decisionRefused, status, web.VerdictOf(err).Text)
}

// add adds checks. Those of an access rule get its place.
func (e *Explained) add(job string, steps []definition.Step, lines map[string]string) {
	for _, s := range steps {
		step := ExplainedStep{
			Job: job, Check: s.Check, OK: s.OK, Found: foundText(s.Found),
			Rule: s.Rule.Name, Expression: s.Rule.Source, At: s.Rule.At, otherEvent: s.OtherEvent, reads: s.Reads,
		}
		if s.Check == string(definition.CheckAccess) {
			step.Rule, step.At = s.Check, lines[s.Check]
		}
		e.Steps = append(e.Steps, step)
	}
}

// decide sets the decision. The last check that did not pass made it, if possible one that was
// about the event of the delivery.
func (e *Explained) decide(decision string, status int, answer string) {
	e.Decision, e.Status, e.Answer = decision, status, answer
	var made *ExplainedStep
	for i := range e.Steps {
		if s := &e.Steps[i]; !s.OK && (made == nil || made.otherEvent || !s.otherEvent) {
			made = s
		}
	}
	if made != nil {
		e.Check, e.Rule, e.At = made.Check, made.Rule, made.At
	}
}

// foundText returns an error without the name of the package in front.
func foundText(text string) string {
	for _, name := range []string{"buildtoken", "token", "job", "policy", "web", "hook", "event", "runner"} {
		if rest, ok := strings.CutPrefix(text, name+": "); ok {
			return rest
		}
	}
	return text
}

// siteWith returns the first site that has the job or folder, or else the first.
func (a *App) siteWith(full string) *site {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.sites) == 0 {
		return nil
	}
	for _, s := range a.sites {
		if s.definition.Has(full) {
			return s
		}
	}
	for _, s := range a.sites {
		if jobs, err := s.definition.Hooked(full); err == nil && len(jobs) > 0 {
			return s
		}
	}
	return a.sites[0]
}

// triggerOf returns the trigger that the question describes, and what is to be noted about
// the choice of its token.
func (s *site) triggerOf(q *question) (t definition.Trigger, note string) {
	t = definition.Trigger{
		Action: q.action, Job: q.job, Root: "http://localhost/", Delay: q.delay, Cause: q.cause, Values: q.params, Files: q.files, Webhook: q.hook,
	}
	t.Post, t.User, t.Remote, t.Operator, t.AnyKind = q.method == http.MethodPost, q.user, q.remote, q.operator, q.anyKind || q.hook != ""
	t.Request = func() policy.Request {
		seen := policy.Request{Method: q.method, Host: "localhost", Path: "/buildByToken/" + string(t.Action), Scheme: "http"}
		if q.remote.IsValid() {
			seen.RemoteIP = q.remote.String()
		}
		return seen
	}
	j, err := s.definition.Find(q.job)
	if t.Action == "" {
		if t.Action = definition.BuildWithParameters; err == nil && len(j.Params) == 0 {
			t.Action = definition.Build
		}
	}
	t.UserMayTrigger = q.user != ""
	if err != nil || q.hook != "" || q.operator {
		return t, ""
	}
	var shown token.Token
	switch {
	case q.token == nil && q.user == "":
		for one := range j.Tokens.All() {
			if one.Grants.Has(token.Trigger) && !one.Expired(q.now) {
				shown, note = one, " (the first that may trigger; --token chooses another)"
				break
			}
		}
	case q.token != nil && *q.token != "":
		var ok bool
		if shown, ok = named(j, *q.token, q.place); !ok {
			t.Presented = true // which is a wrong one, then
			return t, fmt.Sprintf(": the job has no token %q", *q.token)
		}
	}
	if shown.Digest != (token.Digest{}) {
		t.Presented, t.Secret = true, token.SecretOf(shown.Digest)
	}
	return t, note
}

// named returns the token of a job with a name: the nearest, or the one of a place.
func named(j *definition.Compiled, name string, place *string) (token.Token, bool) {
	for t := range j.Tokens.All() {
		if t.Name == name && (place == nil || j.Place(t) == *place) {
			return t, true
		}
	}
	return token.Token{}, false
}

// ignoredParams returns the names of parameters that the job does not have.
func ignoredParams(d *definition.Site, q *question) []string {
	j, err := d.Find(q.job)
	if err != nil {
		return nil
	}
	return job.Unknown(j.Job, q.params, q.files)
}

// uploadOf describes a file of the command line. It is not read.
func uploadOf(path string) (definition.Upload, error) {
	info, err := os.Stat(path)
	if err != nil {
		return definition.Upload{}, err //nolint:wrapcheck // it names the file
	}
	return definition.Upload{Name: filepath.Base(path), Size: info.Size()}, nil
}

// explainDelivery makes the checks of a webhook delivery that was saved as raw HTTP.
func (a *App) explainDelivery(ctx context.Context, full string, raw io.Reader, remote netip.Addr, now time.Time) (Explained, error) {
	result := Explained{Job: full, Decision: decisionAccepted}
	r, err := http.ReadRequest(bufio.NewReader(raw))
	if err != nil {
		return result, fmt.Errorf("read the delivery: it is no HTTP request: %w", err)
	}
	s := a.siteWith(full)
	if s == nil {
		result.refuse("job", errors.New("the configuration has no build_token directive"), http.StatusNotFound)
		return result, nil
	}
	offline := &web.Site{
		Open:       s.public.Open,
		Definition: s.definition, Root: func(*http.Request) string { return "http://localhost/" },
		Remote: func(*http.Request) netip.Addr { return remote },
		Spool:  func() (*os.File, error) { return os.CreateTemp("", "delivery-*") },
	}
	q := offline.Request(discard{http.Header{}}, r.WithContext(ctx))
	q.Now = now
	defer q.Begin().End()
	x := hooks.Explain(q, full) //nolint:contextcheck // the request has it
	result.add("", x.Steps, s.lines)
	for _, j := range x.Jobs {
		result.add(j.Job, j.Steps, s.lines)
		if j.Err != nil && x.Err == nil {
			x.Err = j.Err
		}
	}
	result.Status = x.Status
	switch queued := slices.ContainsFunc(x.Jobs, func(j hooks.JobExplanation) bool { return j.Outcome == "queued" }); {
	case x.Err != nil && !queued:
		result.decide(decisionRefused, x.Status, web.VerdictOf(x.Err).Text)
	case !queued && len(x.Jobs) > 0:
		result.decide(decisionIgnored, x.Status, "ignored")
	}
	return result, nil
}

// discard is the answer to a request that no client has sent.
type discard struct{ header http.Header }

// Header implements [http.ResponseWriter].
func (d discard) Header() http.Header { return d.header }

// Write implements [http.ResponseWriter].
func (discard) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements [http.ResponseWriter].
func (discard) WriteHeader(int) {}
