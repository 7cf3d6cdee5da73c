package caddymodule

import (
	"fmt"
	"slices"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// expiresSoon is how long before its end a token is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

// loadLint finds probable mistakes that only provisioning can find: programs,
// users, labels and times.
type loadLint struct {
	now time.Time
	// labels are those of this server; nil if other servers may run the builds.
	labels []string
	// known are the warnings of the Caddyfile.
	known []Warning
	// lines are the places of directives, see [Handler.Lines].
	lines map[string]string
	found []Warning
}

// warn adds a warning about a directive that applies to a job or folder.
func (l *loadLint) warn(code Code, full, directive, format string, args ...any) {
	l.found = append(l.found, Warning{Code: code, At: l.place(full, directive), Job: full, Message: fmt.Sprintf(format, args...)})
}

// place returns the file and line of a directive of a job, or of the folder from which the job
// inherits it. It is empty for a configuration that was written as JSON.
func (l *loadLint) place(full, directive string) string {
	for {
		at := l.lines[placeName(full, directive)]
		if at != "" || full == "" {
			return at
		}
		full, _ = job.Split(full)
	}
}

// inherited is what a job has of the folders above it.
type inherited struct {
	settings job.Settings
	// startable is set if some caller can start the jobs below.
	startable bool
}

func (l *loadLint) site(spec *definition.Spec) {
	l.folder("", &spec.Root, inherited{startable: spec.Access.Build != "" && spec.Access.Build != "false"})
}

func (l *loadLint) folder(full string, f *definition.Folder, outer inherited) {
	inner := l.enter(full, f.Settings, f.Tokens, outer)
	for i := range f.Folders {
		l.folder(job.Join(full, f.Folders[i].Name), &f.Folders[i], inner)
	}
	for i := range f.Jobs {
		l.job(job.Join(full, f.Jobs[i].Name), &f.Jobs[i], inner)
		l.webhooks(job.Join(full, f.Jobs[i].Name), f.Jobs[i].Webhooks, f.Jobs[i].On)
	}
	l.webhooks(full, f.Webhooks, ons(f))
	l.notify(full, f)
}

// notify warns about what a folder notifies with a parameter that some job below does not have.
// In a job it is an error.
func (l *loadLint) notify(full string, f *definition.Folder) {
	for _, n := range f.Notify {
		r, refers := n.To.(interface{ Params() []string })
		if !refers {
			continue
		}
		for _, name := range r.Params() {
			if without := specWithout(full, f, name); without != "" {
				l.warn(CodeParam, full, "notify "+n.Name, "notify %s: it reports no build of job %q, which has no parameter %s; add the parameter, or put notify into the jobs that have it", n.Name, without, name)
			}
		}
	}
}

// specWithout returns the full name of the first job below f that does not have a parameter, or
// "".
func specWithout(full string, f *definition.Folder, param string) string {
	for i := range f.Jobs {
		if !slices.ContainsFunc(f.Jobs[i].Params, func(p job.Param) bool { return p.Name == param }) {
			return job.Join(full, f.Jobs[i].Name)
		}
	}
	for i := range f.Folders {
		if found := specWithout(job.Join(full, f.Folders[i].Name), &f.Folders[i], param); found != "" {
			return found
		}
	}
	return ""
}

// ons returns those of all jobs below a folder.
func ons(f *definition.Folder) []definition.OnSpec {
	var all []definition.OnSpec
	for i := range f.Jobs {
		all = append(all, f.Jobs[i].On...)
	}
	for i := range f.Folders {
		all = append(all, ons(&f.Folders[i])...)
	}
	return all
}

// webhooks warns about those whose deliveries start nothing.
func (l *loadLint) webhooks(full string, webhooks []definition.WebhookSpec, on []definition.OnSpec) {
	for _, w := range webhooks {
		name := definition.WebhookName(w.Name, string(w.Kind))
		if !slices.ContainsFunc(on, func(o definition.OnSpec) bool { return o.Webhook == name }) {
			l.warn(CodeWebhook, full, "webhook "+name, "webhook %s: no job has an `on` for it, so that its deliveries start nothing; add to a job: on %[1]s", name)
		}
	}
}

// enter warns about tokens, and adds the settings of a folder or job to those that it inherits.
func (l *loadLint) enter(full string, s job.Settings, tokens []definition.Token, outer inherited) inherited {
	for _, t := range tokens {
		outer.startable = outer.startable || t.Grants.Has(token.Trigger)
		switch left := t.Expires.Sub(l.now); {
		case t.Expires.IsZero():
		case left <= 0:
			l.warn(CodeExpired, full, "token "+t.Name, "token %s: it expired at %s, and callers that use it are refused", t.Name, t.Expires.Format(time.RFC3339))
		case left < expiresSoon:
			l.warn(CodeExpires, full, "token "+t.Name, "token %s: it expires at %s; add another one, and give it to the callers", t.Name, t.Expires.Format(time.RFC3339))
		}
	}
	outer.settings = s.Under(outer.settings)
	return outer
}

func (l *loadLint) job(full string, j *definition.Job, outer inherited) {
	inner := l.enter(full, j.Settings, j.Tokens, outer)
	if label := inner.settings.Label; label != nil && l.labels != nil && !slices.Contains(l.labels, *label) {
		l.warn(CodeLabel, full, "label", "label %s: no server has it, so builds wait for ever; add it to the global option: node NAME { labels %[1]s }", *label)
	}
	if !inner.startable && len(j.On)+len(j.Schedules) == 0 && !j.Disabled {
		l.warn(CodeUnreachable, full, "job", "nothing can start this job: add a token to it or to a folder above it, a webhook with `on`, or `build` to access")
	}
	env := make([]string, len(inner.settings.Env))
	for i, v := range inner.settings.Env {
		env[i] = v.Name + "=" + v.Value
	}
	l.program(full, "run", j.Runner, env)
	l.program(full, "poll", j.Poller, env)
}

// program warns if a program or a user does not exist. They may come later.
func (l *loadLint) program(full, directive string, loaded any, env []string) {
	needs, ok := loaded.(interface{ Missing(env []string) error })
	if !ok {
		return
	}
	if slices.ContainsFunc(l.known, func(w Warning) bool { return w.Job == full && (w.Code == CodeShell || w.Code == CodeSpaces) }) {
		return // the same mistake
	}
	if err := needs.Missing(env); err != nil {
		l.warn(CodeProgram, full, directive, "%s: it could not start now: %v", directive, err)
	}
}
