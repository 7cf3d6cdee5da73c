package jenkinsimport

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// writer writes a Caddyfile, one directive a line.
type writer struct {
	strings.Builder
	depth int
}

// line writes a directive. Each word is quoted as it needs to be.
func (w *writer) line(words ...string) {
	w.WriteString(strings.Repeat("\t", w.depth))
	for i, word := range words {
		if i > 0 {
			w.WriteByte(' ')
		}
		w.WriteString(quote(word))
	}
	w.WriteByte('\n')
}

// block writes a directive with a block, unless the block is empty.
func (w *writer) block(inside func(), words ...string) {
	start := w.Len()
	w.line(words...)
	head := w.String()[:w.Len()-1]
	w.depth++
	before := w.Len()
	inside()
	w.depth--
	if w.Len() == before {
		return
	}
	body := w.String()[before:]
	text := head[:start] + head[start:] + " {\n" + body
	w.Reset()
	w.WriteString(text + strings.Repeat("\t", w.depth) + "}\n")
}

// Caddyfile returns the whole configuration.
func (p *Plan) Caddyfile() string {
	return p.caddyfile(p.Jobs)
}

// CaddyfileOf returns a configuration with one job alone.
func (p *Plan) CaddyfileOf(j Job) string {
	return p.caddyfile([]Job{j})
}

const heading = `# Written by caddy build-token import-jenkins. Read import-report.md first. Change the address
# below to that of this server.
`

func (p *Plan) caddyfile(jobs []Job) string {
	w := new(writer)
	w.WriteString(heading)
	if p.Executors > 0 || len(p.Labels) > 0 {
		w.WriteString("{\n")
		w.depth++
		w.block(func() {
			if p.Executors > 0 {
				w.line("executors", strconv.Itoa(p.Executors))
			}
			if len(p.Labels) > 0 {
				w.block(func() { w.line(append([]string{"labels"}, p.Labels...)...) }, "node", NodeName)
			}
		}, "build_token")
		w.WriteString("}\n")
	}
	w.WriteString("\n")
	w.WriteString(":8080 {\n\tbuild_token {\n")
	w.depth = 2
	w.settings(p.Settings)
	w.folder("", jobs)
	w.WriteString("\t}\n}\n")
	return w.String()
}

// NodeName is the name of this server in a Caddyfile with labels.
const NodeName = "built-in"

// folder writes the jobs below a folder: first those in it, then the folders in it.
func (w *writer) folder(full string, jobs []Job) {
	var inside []string // the full names of folders
	for _, j := range jobs {
		name, _, deeper := strings.Cut(strings.TrimPrefix(j.FullName, full+"/"), "/")
		if !deeper {
			w.job(j)
		} else if sub := job.Join(full, name); !slices.Contains(inside, sub) {
			inside = append(inside, sub)
		}
	}
	for _, sub := range inside {
		_, name := job.Split(sub)
		below := slices.DeleteFunc(slices.Clone(jobs), func(j Job) bool { return !strings.HasPrefix(j.FullName, sub+"/") })
		w.block(func() { w.folder(sub, below) }, "folder", name)
	}
}

func (w *writer) job(j Job) {
	w.block(func() {
		if j.Description != "" {
			w.line("description", j.Description)
		}
		if j.Disabled {
			w.line("disabled")
		}
		if j.Concurrent {
			w.line("concurrent")
		}
		if j.Token != "" {
			w.line("token", j.Token)
		}
		w.settings(j.Settings)
		for _, p := range j.Params {
			w.param(p)
		}
		for _, s := range j.Schedules {
			w.block(func() {
				if s.Poll {
					w.line("poll")
				}
			}, "schedule", s.Spec)
		}
		w.command("poll", j.Poll)
		w.command("run", j.Run)
		w.relay(j.Relay)
	}, "job", j.Name())
}

func (w *writer) settings(s job.Settings) {
	if s.QuietPeriod != nil {
		w.line("quiet_period", duration(*s.QuietPeriod))
	}
	if s.Timeout != nil {
		w.line("timeout", duration(*s.Timeout))
	}
	if s.KeepBuilds != nil {
		w.line("keep_builds", strconv.Itoa(*s.KeepBuilds))
	}
	if s.Dir != nil {
		w.line("dir", *s.Dir)
	}
	if s.Label != nil {
		w.line("label", *s.Label)
	}
	for _, v := range s.Env {
		w.line("env", v.Name, v.Value)
	}
}

// duration returns whole seconds or minutes without the zeros that [time.Duration] shows.
func duration(d time.Duration) string {
	if d != 0 && d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func (w *writer) param(p job.Param) {
	words := []string{"param", p.Name, string(p.Kind)}
	switch {
	case p.Kind == job.KindChoice:
		words = append(words, p.Choices...)
	case p.Default != "":
		words = append(words, p.Default)
	}
	w.block(func() {
		if p.Description != "" {
			w.line("description", p.Description)
		}
		if p.Trim {
			w.line("trim")
		}
	}, words...)
}

func (w *writer) command(directive string, c *Command) {
	if c == nil {
		return
	}
	w.block(func() {
		if c.Unstable > 0 {
			w.line("unstable", strconv.Itoa(c.Unstable))
		}
	}, append([]string{directive}, c.Words...)...)
}

// What a relayed job logs in with.
const (
	RelayUser     = "{env.JENKINS_USER}"
	RelayAPIToken = "{env.JENKINS_API_TOKEN}" //nolint:gosec // the name of a variable
)

func (w *writer) relay(r *Relay) {
	if r == nil {
		return
	}
	w.block(func() {
		w.line("user", RelayUser, RelayAPIToken)
		if r.Token != "" {
			w.line("job_token", r.Token)
		}
	}, "runner", "jenkins", r.URL, r.Job)
}
