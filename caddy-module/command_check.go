package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [<Caddyfile>] [--adapter <name>] [--json]",
		Short: "Shows who can start which job, and all warnings of a configuration",
		Long: `
Loads a configuration as caddy validate does, and prints for each job which
tokens and users can start it, until when, under which rules, what it runs, the
next three times of its schedules, and what is notified when. Then it lists all
warnings. It starts nothing and needs no running Caddy.

Run it as the user that Caddy runs as, with its environment: secrets are read,
and programs are looked up.

Exit status: 0 without warnings, 1 with warnings or errors.`,
		Example: `  caddy build-token check
  caddy build-token check /etc/caddy/Caddyfile --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: caddycmd.WrapCommandFuncForCobra(runCheck),
	}
	cmd.Flags().StringP("adapter", "a", "", "The config adapter for the file")
	cmd.Flags().Bool("json", false, "Print the result as JSON")
	return cmd
}

// checked is the result of the command.
type checked struct {
	Jobs     []checkedJob `json:"jobs"`
	Warnings []Warning    `json:"warnings"`
}

// checkedJob is a job as the command shows it.
type checkedJob struct {
	Job      string         `json:"job"`
	Disabled bool           `json:"disabled,omitempty"`
	Tokens   []checkedToken `json:"tokens"`
	// Users is the rule that lets callers without a token start it; "" lets none.
	Users     string            `json:"users,omitempty"`
	Webhooks  []string          `json:"webhooks,omitempty"`
	On        []checkedOn       `json:"on,omitempty"`
	Schedules []checkedSchedule `json:"schedules,omitempty"`
	Notify    []checkedNotify   `json:"notify,omitempty"`
	Rules     []checkedRule     `json:"rules"`
	Run       string            `json:"run"`
}

// checkedOn is what a job does with the deliveries of a webhook.
type checkedOn struct {
	Webhook string   `json:"webhook"`
	Events  []string `json:"events,omitempty"` // none means any
	When    string   `json:"when,omitempty"`
	Include []string `json:"include,omitempty"`
	At      string   `json:"at,omitempty"` // the file and line
}

type checkedSchedule struct {
	Spec string `json:"spec"`
	Poll bool   `json:"poll,omitempty"`
	// Next are the next three times. It is empty if the job is disabled.
	Next []time.Time `json:"next,omitempty"`
}

// checkedNotify is a receiver of notifications about a job's builds.
type checkedNotify struct {
	// Target is the name below the full name of the folder or job that has it.
	Target string            `json:"target"`
	On     []queue.Condition `json:"on"`
}

type checkedToken struct {
	Name    string        `json:"name"`
	Level   string        `json:"level"` // the folder or job that has it
	Grants  string        `json:"grants"`
	Expires time.Time     `json:"expires,omitzero"`
	Rules   []checkedRule `json:"rules,omitempty"`
}

type checkedRule struct {
	Level      string `json:"level"`
	Expression string `json:"expression"`
	Message    string `json:"message,omitempty"`
	At         string `json:"at,omitempty"` // the file and line
}

func runCheck(flags caddycmd.Flags) (int, error) {
	config, _, _, err := caddycmd.LoadConfig(flags.Arg(0), flags.String("adapter"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("read the configuration: %w", err)
	}
	app, err := inspect(config)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	now := time.Now()
	result := app.report(now)
	if err := app.Cleanup(); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	if flags.Bool("json") {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "\t")
		err = encoder.Encode(result)
	} else {
		err = result.print(os.Stdout, now)
	}
	if err == nil && len(result.Warnings) > 0 {
		err = fmt.Errorf("%d %s", len(result.Warnings), plural(len(result.Warnings), "warning")) // without an error, Caddy exits with 0
	}
	return exitCode(err), err
}

// report describes the jobs of all handlers.
func (a *App) report(now time.Time) checked {
	result := checked{Jobs: []checkedJob{}, Warnings: append([]Warning{}, a.warnings()...)}
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := map[string]bool{}
	for _, s := range a.sites {
		c := checker{spec: s.spec, jobs: s.definition.Jobs(), now: now, to: &result, seen: seen}
		c.folder("", &s.spec.Root, checkedJob{})
	}
	return result
}

// checker walks one tree.
type checker struct {
	spec *definition.Spec
	jobs map[string]*definition.Compiled
	now  time.Time
	to   *checked
	seen map[string]bool // by full name: a job can be in several sites
}

func (c *checker) folder(full string, f *definition.Folder, outer checkedJob) {
	inner := enterChecked(outer, full, f.Tokens, f.Allow)
	for i := range f.Folders {
		c.folder(job.Join(full, f.Folders[i].Name), &f.Folders[i], inner)
	}
	for i := range f.Jobs {
		j := &f.Jobs[i]
		name := job.Join(full, j.Name)
		if c.seen[name] {
			continue
		}
		c.seen[name] = true
		shown := enterChecked(inner, name, j.Tokens, j.Allow)
		shown.Job, shown.Disabled, shown.Users, shown.Run = name, j.Disabled, c.spec.Access.Build, describe(j.Runner)
		for _, on := range j.On {
			if !slices.Contains(shown.Webhooks, on.Webhook) {
				shown.Webhooks = append(shown.Webhooks, on.Webhook)
			}
			shown.On = append(shown.On, checkedOn{Webhook: on.Webhook, Events: on.Events, When: on.When, Include: on.Include, At: on.At})
		}
		for _, s := range c.jobs[name].Schedules {
			shown.Schedules = append(shown.Schedules, c.schedule(s, j.Disabled))
		}
		for _, n := range c.jobs[name].Notify {
			shown.Notify = append(shown.Notify, checkedNotify{Target: n.Target, On: n.On})
		}
		c.to.Jobs = append(c.to.Jobs, shown)
	}
}

func (c *checker) schedule(s definition.Schedule, disabled bool) checkedSchedule {
	shown := checkedSchedule{Spec: s.Spec.Spec, Poll: s.Spec.Poll}
	for at := c.now; !disabled && len(shown.Next) < 3; {
		next, ok := s.Next(at)
		if !ok {
			break
		}
		shown.Next = append(shown.Next, next)
		at = next
	}
	return shown
}

// enterChecked adds the tokens and rules of a folder or job.
func enterChecked(outer checkedJob, full string, tokens []definition.Token, allow []policy.Rule) checkedJob {
	level := full
	if level == "" {
		level = "top level"
	}
	inner := checkedJob{Tokens: append([]checkedToken{}, outer.Tokens...), Rules: append(append([]checkedRule{}, outer.Rules...), checkedRules(level, allow)...)}
	for _, t := range tokens {
		inner.Tokens = append(inner.Tokens, checkedToken{
			Name: t.Name, Level: level, Grants: t.Grants.String(), Expires: t.Expires, Rules: checkedRules(level+" token "+t.Name, t.Allow),
		})
	}
	return inner
}

func checkedRules(level string, allow []policy.Rule) []checkedRule {
	var all []checkedRule
	for _, r := range allow {
		all = append(all, checkedRule{Level: level, Expression: r.Source, Message: r.Message, At: r.At})
	}
	return all
}

// describe returns what a runner runs.
func describe(runner any) string {
	if e, ok := runner.(*ExecRunner); ok {
		text := e.Command
		for _, arg := range e.Args { // of a script, its first line
			line, _, more := strings.Cut(strings.TrimSpace(arg), "\n")
			if text += " " + line; more {
				text += " …"
			}
		}
		if e.User != "" {
			text += " (as user " + e.User + ")"
		}
		return text
	}
	if j, ok := runner.(*JenkinsRunner); ok {
		return "jenkins: " + j.Job + " at " + j.URL
	}
	if mod, ok := runner.(caddy.Module); ok {
		return mod.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", runner)
}

// print writes the result for people.
func (c checked) print(to io.Writer, now time.Time) error {
	var b strings.Builder
	for _, j := range c.Jobs {
		b.WriteString(j.Job)
		if j.Disabled {
			b.WriteString(" (disabled)")
		}
		fmt.Fprintf(&b, "\n  runs      %s\n", j.Run)
		for _, t := range j.Tokens {
			fmt.Fprintf(&b, "  token     %s of %s: %s%s\n", t.Name, t.Level, t.Grants, until(t.Expires, now))
			for _, r := range t.Rules {
				fmt.Fprintf(&b, "              only if %s%s\n", oneLine(r.Expression), behind(r.At))
			}
		}
		for _, w := range j.Webhooks {
			fmt.Fprintf(&b, "  webhook   %s: deliveries to /buildByToken/webhook?job=%s, or without job\n", w, j.Job)
			for _, on := range j.On {
				if on.Webhook == w {
					fmt.Fprintf(&b, "              %s%s\n", on, behind(on.At))
				}
			}
		}
		for _, s := range j.Schedules {
			fmt.Fprintf(&b, "  schedule  %s\n", s)
		}
		if j.Users != "" {
			fmt.Fprintf(&b, "  users     if %s\n", oneLine(j.Users))
		}
		if len(j.Tokens)+len(j.Webhooks)+len(j.Schedules) == 0 && j.Users == "" {
			b.WriteString("  nothing can start it\n")
		}
		for _, r := range j.Rules {
			fmt.Fprintf(&b, "  rule      %s: %s%s\n", r.Level, oneLine(r.Expression), behind(r.At))
		}
		for _, n := range j.Notify {
			fmt.Fprintf(&b, "  notifies  %s: %s\n", n.Target, strings.Trim(fmt.Sprint(n.On), "[]"))
		}
		b.WriteString("\n")
	}
	for _, w := range c.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	fmt.Fprintf(&b, "%d %s, %d %s\n", len(c.Jobs), plural(len(c.Jobs), "job"), len(c.Warnings), plural(len(c.Warnings), "warning"))
	_, err := io.WriteString(to, b.String())
	if err != nil {
		err = errors.Join(errors.New("write the result"), err)
	}
	return err
}

func (o checkedOn) String() string {
	text := cmp.Or(strings.Join(o.Events, ", "), "any event")
	if len(o.Include) > 0 {
		text += ", with " + strings.Join(o.Include, ", ")
	}
	if o.When != "" {
		text += " only if " + oneLine(o.When)
	}
	return text
}

func (s checkedSchedule) String() string {
	text := oneLine(s.Spec)
	if s.Poll {
		text += ", polls"
	}
	for i, at := range s.Next {
		separator := ", "
		if i == 0 {
			separator = ": next "
		}
		text += separator + at.Format("Mon 2006-01-02 15:04 MST")
	}
	return text
}

func until(expires, now time.Time) string {
	switch {
	case expires.IsZero():
		return ""
	case expires.Before(now):
		return ", expired at " + expires.Format(time.RFC3339)
	}
	return ", until " + expires.Format(time.RFC3339)
}

// behind returns the place of a rule for the end of its line.
func behind(at string) string {
	if at == "" {
		return ""
	}
	return " (" + at + ")"
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
