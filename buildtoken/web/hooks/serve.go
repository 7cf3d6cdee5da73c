package hooks

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/event"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// target is the job or folder that the URL of a delivery names.
type target struct {
	// job is the full name of a job or folder; "" is the top.
	job string
	// kind restricts the webhooks to one kind, if it is not empty.
	kind event.Kind
	err  error
}

// Serve answers the request if it is a webhook delivery, and reports whether it was. It
// answers completely, errors too.
func Serve(q *web.Request) (handled bool) {
	if q.Path.Dotted() {
		return false
	}
	if id, ok := replayOf(q.Path); ok {
		defer q.Begin().End()
		serveReplay(q, id)
		return true
	}
	t, ok := targetOf(q)
	if !ok {
		return false
	}
	defer q.Begin().End()
	serve(q, t)
	return true
}

func targetOf(q *web.Request) (target, bool) {
	if action, ok := q.Path.Action(); ok && action == "webhook" {
		t := target{}
		query, err := url.ParseQuery(q.R.URL.RawQuery)
		switch names := query["job"]; {
		case err != nil:
			t.err = &web.BadRequestError{Problem: "malformed query"}
		case len(names) > 1:
			t.err = &web.BadRequestError{Problem: "job is given more than once"}
		case len(names) == 1:
			t.job = names[0]
		}
		return t, true
	}
	// The addresses of Jenkins' plugins may be those of a Jenkins behind this server, unless a job
	// here takes such webhooks.
	switch {
	case q.Path.Is("github-webhook"):
		return target{kind: event.GitHub}, uses(q.Definition, event.GitHub)
	case q.Path.At(0) == "project" && q.Path.Len() > 1:
		t := target{kind: event.GitLab}
		var names []string
		for i := 1; i < q.Path.Len(); i++ {
			names = append(names, q.Path.At(i))
		}
		if t.job = strings.Join(names, "/"); slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "/") }) {
			t.err = definition.ErrUnknownJob // an escaped slash is part of a name, which no job has
		}
		return t, uses(q.Definition, event.GitLab)
	}
	return target{}, false
}

// uses reports whether some job takes webhooks of a kind.
func uses(site *definition.Site, kind event.Kind) bool {
	jobs, err := site.Hooked("")
	return err == nil && len(webhooksOf(jobs, kind)) > 0
}

// webhooksOf returns the webhooks that the jobs use, of one kind or, if it is empty, of all.
func webhooksOf(jobs []*definition.Compiled, kind event.Kind) []*definition.Webhook {
	var all []*definition.Webhook
	for _, j := range jobs {
		for _, o := range j.On {
			if (kind == "" || o.Webhook.Kind == kind) && !slices.Contains(all, o.Webhook) {
				all = append(all, o.Webhook)
			}
		}
	}
	return all
}

func serve(q *web.Request, t target) {
	d := &delivery{Request: q, target: t, header: event.Header(q.R.Header)}
	err := d.receive()
	d.answer(err)
}

// receive checks and carries out a delivery, in the order that the documents show.
func (d *delivery) receive() error {
	if err := d.Allow(http.MethodPost); err != nil {
		return err
	}
	jobs, err := d.jobsOf()
	if err != nil {
		return err
	}
	verified, raw, err := d.verify()
	if raw != nil {
		defer raw.Close()
	}
	if err != nil || d.ping {
		return err
	}
	d.webhooks = verified
	return d.carryOut(jobs, raw)
}

// jobsOf returns the jobs that the URL names, and finds the webhooks that could have signed
// the delivery.
func (d *delivery) jobsOf() ([]*definition.Compiled, error) {
	if d.target.err != nil {
		return nil, d.target.err
	}
	jobs, err := d.Definition.Hooked(d.target.job)
	if err != nil {
		return nil, err //nolint:wrapcheck // its verdict is that of an unknown job
	}
	if d.candidates = webhooksOf(jobs, d.target.kind); len(d.candidates) == 0 {
		return nil, definition.ErrUnknownJob
	}
	return jobs, nil
}
