package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/buildtoken/buildtoken/buildtoken/audit"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
)

// Replayed is what would change if the last decisions of a running server were made with
// another configuration, as `caddy build-token explain --history --json` prints it.
type Replayed struct {
	// How many decisions there were, and how many of them could not be repeated, by the
	// reason.
	Decisions  int            `json:"decisions"`
	Impossible map[string]int `json:"impossible,omitempty"`
	// What would change; equal changes of one caller are one.
	Changes []Change `json:"changes"`
}

// Change is a decision that would change.
type Change struct {
	Job  string `json:"job"`
	From string `json:"from"` // the caller
	// Before and After are what was and what would be decided.
	Before string `json:"before"`
	After  string `json:"after"`
	// The rule that would decide, with file and line.
	Rule string `json:"rule,omitempty"`
	At   string `json:"at,omitempty"`
	// How many decisions, and the newest of them.
	Count int           `json:"count"`
	Last  audit.Trigger `json:"last"`
}

func explainHistory(app *App, flags caddycmd.Flags) (int, error) {
	if flags.NArg() > 1 || flags.String("webhook") != "" {
		return exitError, errors.New("--history goes without a job and without --webhook")
	}
	past, err := fetchDecisions(flags)
	if err != nil {
		return exitError, err
	}
	result := app.replay(context.Background(), past)
	if flags.Bool("json") {
		err = printJSON(result)
	} else {
		err = result.print(os.Stdout, time.Now())
	}
	switch {
	case err != nil:
		return exitError, err
	case len(result.Changes) > 0:
		return exitDenied, errors.New("decisions would change") // without an error, Caddy exits with 0
	}
	return exitAccepted, nil
}

func fetchDecisions(flags caddycmd.Flags) ([]audit.Trigger, error) {
	c, err := newClient(flags)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(context.Background(), http.MethodGet, "decisions", nil, nil, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	var past []audit.Trigger
	if err := json.NewDecoder(resp.Body).Decode(&past); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return past, nil
}

// replay makes past decisions again, each as of its time.
func (a *App) replay(ctx context.Context, past []audit.Trigger) Replayed {
	result := Replayed{Decisions: len(past), Impossible: map[string]int{}, Changes: []Change{}}
	for i := range past {
		t := &past[i]
		after, why := a.again(ctx, t)
		if why != "" {
			result.Impossible[why]++
			continue
		}
		c := Change{Job: t.Job, From: callerOf(t), Before: outcomeOf(t.Admitted, t.Check, t.Rule, ""), Rule: after.Rule, At: after.At, Count: 1, Last: *t}
		admitted := after.Decision == decisionAccepted
		if admitted == t.Admitted && (admitted || after.Check == t.Check) {
			continue
		}
		c.After = outcomeOf(admitted, after.Check, after.Rule, after.At)
		same := slices.IndexFunc(result.Changes, func(o Change) bool {
			return o.Job == c.Job && o.From == c.From && o.Before == c.Before && o.After == c.After
		})
		if same < 0 {
			result.Changes = append(result.Changes, c)
			continue
		}
		result.Changes[same].Count++
		result.Changes[same].Last = c.Last
	}
	return result
}

// again makes one decision again, or returns why it cannot.
func (a *App) again(ctx context.Context, t *audit.Trigger) (e Explained, why string) {
	if t.Cut {
		return e, "a parameter is too long to be kept"
	}
	q := question{
		job: t.Job, method: http.MethodGet, action: definition.Action(t.Action), token: &t.Token, user: t.User, remote: t.Remote,
		cause: t.Cause, delay: t.Delay, params: map[string][]string{}, files: map[string]definition.Upload{}, hook: t.Webhook, now: t.Time,
		place: &t.Place, anyKind: true, operator: t.Operator,
	}
	if t.Post {
		q.method = http.MethodPost
	}
	unknown := []string{"request", "request.host", "request.path", "request.scheme", "request.user_agent", "request.headers"}
	for _, p := range t.Params {
		switch {
		case p.File:
			q.files[p.Name] = definition.Upload{Name: p.Value}
		case p.Hidden:
			unknown = append(unknown, "params", "params."+p.Name)
			q.params[p.Name] = append(q.params[p.Name], "")
		default:
			q.params[p.Name] = append(q.params[p.Name], p.Value)
		}
	}
	e = a.explain(ctx, &q)
	for _, s := range e.Steps {
		for _, path := range s.reads {
			if !slices.Contains(unknown, path) && !strings.HasPrefix(path, "request.headers.") {
				continue
			}
			if s.OK && e.Decision == decisionRefused {
				continue // the rule that refuses it decides, whatever this one finds
			}
			return e, fmt.Sprintf("%s%s reads %s, which is not kept", s.Rule, behind(s.At), path)
		}
	}
	return e, ""
}

// callerOf names the caller of a trigger.
func callerOf(t *audit.Trigger) string {
	switch {
	case t.Operator:
		return "the admin API"
	case t.Webhook != "":
		return "webhook " + t.Webhook
	case t.Token != "":
		place := t.Place
		if place == "" {
			place = "the top level"
		}
		return "token " + t.Token + " of " + place
	case t.User != "":
		return "user " + t.User
	}
	return "anonymous"
}

func outcomeOf(admitted bool, check, rule, at string) string {
	switch {
	case admitted:
		return decisionAccepted
	case rule != "":
		return decisionRefused + " by " + rule + behind(at)
	}
	return decisionRefused + " by the check of: " + check
}

// print writes the changes for people.
func (r *Replayed) print(to io.Writer, now time.Time) error {
	var b strings.Builder
	changed := 0
	for i := range r.Changes {
		c := &r.Changes[i]
		changed += c.Count
		fmt.Fprintf(&b, "%s by %s: %s → %s\n", c.Job, c.From, c.Before, c.After)
		times := fmt.Sprintf("%d times, last", c.Count)
		if c.Count == 1 {
			times = "once,"
		}
		fmt.Fprintf(&b, "    %s %s ago", times, rough(now.Sub(c.Last.Time)))
		if c.Last.Remote.IsValid() {
			fmt.Fprintf(&b, " from %s", c.Last.Remote)
		}
		for i, p := range c.Last.Params {
			word := ""
			if i == 0 {
				word = " with"
			}
			if p.Hidden {
				p.Value = "****"
			}
			fmt.Fprintf(&b, "%s %s=%s", word, p.Name, oneLine(p.Value))
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d of %d %s would change\n", changed, r.Decisions, plural(r.Decisions, "decision"))
	for _, why := range slices.Sorted(maps.Keys(r.Impossible)) {
		fmt.Fprintf(&b, "%d cannot be repeated: %s\n", r.Impossible[why], why)
	}
	_, err := io.WriteString(to, b.String())
	return err //nolint:wrapcheck // the error of standard output is clear
}
